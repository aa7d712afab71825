package query
import ("testing";"time";"fmt";"runtime";"net/http";"io";"slices")
func TestZZ(t *testing.T){
	a := newAPI(t)
	a.exec(`INSERT INTO events SELECT 'demo', 'key-'||toString(number%1000000), number, 'e'||toString(number),'signing_request', if(number%100000=0,'critical','nominal'),'10.0.0.1','me', '{"amount":'||toString(number)||'}', toDateTime64('2026-04-05 00:00:00',3,'UTC')+number*0.05, 0,0,0, 1, number, toDateTime64('2026-04-05 00:00:00',3,'UTC')+number*0.05 FROM numbers(2000000)`)
	a.exec("OPTIMIZE TABLE events FINAL"); a.exec("OPTIMIZE TABLE keys FINAL")
	for _, p := range []string{"/api/events","/api/events?key_id=key-77","/api/events?severity=critical","/api/events/1999999","/api/keys?limit=50","/api/alerts","/api/stats"} {
		var d []time.Duration
		for range 40 { a.clock.Add(1000); s:=time.Now(); a.get("demo",p); d=append(d,time.Since(s)) }
		slices.Sort(d); fmt.Println(p, d[20], d[38])
	}
	runtime.GC(); var m runtime.MemStats; runtime.ReadMemStats(&m); before:=m.Sys
	s:=time.Now()
	resp,err:=http.DefaultClient.Do(a.request("demo","GET","/api/keys","")); if err!=nil{t.Fatal(err)}
	first:=time.Since(s)
	n,err:=io.Copy(io.Discard, resp.Body)
	runtime.ReadMemStats(&m)
	fmt.Println("1M keys", n, err, first, time.Since(s), "sys +", (m.Sys-before)>>20, "MiB")
}
