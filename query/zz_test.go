package query
import ("testing";"time";"fmt";"github.com/ClickHouse/clickhouse-go/v2";"context";"math/rand")
func TestZZ(t *testing.T){
	a := newAPI(t)
	for range 2 {
	a.exec(`INSERT INTO events SELECT 'demo', 'key-'||toString(number%1000), number, 'e'||toString(number),'signing_request', if(number%100000=0,'critical','nominal'),'10.0.0.1','me', '{"amount":'||toString(number)||'}', toDateTime64('2026-04-05 00:00:00',3,'UTC')+number*0.05, 0,0,0, 1, number, toDateTime64('2026-04-05 00:00:00',3,'UTC')+number*0.05 FROM numbers(1500000)`)
	}
	var maxd time.Duration
	full:=0
	for i:=range 400 {
	p:=&params{values:map[string]string{"severity":"critical"}}
	w:=eventsWhere("demo",p); w.bind("rows",51)
	ctx:=clickhouse.Context(context.Background(), clickhouse.WithQueryID(fmt.Sprint("zz",i)))
	if maxd>0 { go func(){ time.Sleep(time.Duration(rand.Int63n(int64(maxd)))); a.db.Exec(context.Background(),fmt.Sprintf("KILL QUERY WHERE query_id='zz%d' ASYNC",i)) }() }
	start:=time.Now()
	rows,err:=a.db.Query(ctx, selectEvents+w.String()+newestEvents, w.args...)
	n:=0
	if err==nil { for rows.Next(){ n++ }; err=rows.Err() }
	if i<3 { maxd=time.Since(start); fmt.Println(n,maxd) }
	if err==nil && n!=30 { fmt.Println("TRUNCATED", n, time.Since(start)) }
	if err==nil {full++}
	}
	fmt.Println("full",full)
}
