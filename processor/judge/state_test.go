package judge

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"keypulse/internal/varint"
	"keypulse/rules"
	"keypulse/schema"
)

// bookOf is a book with two rules of tenant demo, one in shadow mode.
func bookOf(t *testing.T) *rules.Book {
	t.Helper()
	book := rules.NewBook()
	for i, mode := range []rules.Mode{rules.Live, rules.Shadow} {
		text := fmt.Sprintf(`{"id":%q,"name":"n","when":"count(\"1m\") > 3","severity":"critical","mode":%q}`, mode, mode)
		value, err := json.Marshal(schema.RuleRecord{Tenant: "demo", ID: string(mode), Version: 1, Rule: []byte(text), By: "test"})
		if err != nil {
			t.Fatal(err)
		}
		if err := book.Apply(int64(i), schema.RecordKey("demo", string(mode)), value); err != nil {
			t.Fatal(err)
		}
	}
	return book
}

// judgeSome judges events from..to-1 and returns the verdicts as they go into the log.
func judgeSome(j *Judge, from, to int64) (b []byte) {
	for offset := from; offset < to; offset++ {
		e := schema.Event{
			Tenant: "demo", KeyID: fmt.Sprint("key-", offset%3), Type: "export", Severity: schema.Nominal, RulesRev: 2,
			CreatedAt: schema.Millis(1000 * offset), EventID: fmt.Sprint(offset), OwnID: true,
		}
		v := schema.Verdict{From: offset, To: offset + 1}
		if x, exceptional := j.Event(offset, &e); exceptional {
			v.Exceptions = append(v.Exceptions, x)
		}
		j.Tell(&v, 1<<20, nil)
		b = v.AppendValue(b)
	}
	return b
}

func restore(t *testing.T, book *rules.Book, body []byte) *Judge {
	t.Helper()
	j := New(Config{Book: book})
	t.Cleanup(j.Close)
	if err := j.ApplyChanges(body); err != nil {
		t.Fatal(err)
	}
	j.FinishChanges()
	return j
}

func TestChangesMakeTheJudgeAgain(t *testing.T) {
	book := bookOf(t)
	plain := New(Config{Book: book})
	defer plain.Close()
	judgeSome(plain, 0, 100)
	body, _ := plain.AppendChanges(nil)
	again := restore(t, book, body)
	if got, want := judgeSome(again, 100, 300), judgeSome(plain, 100, 300); !bytes.Equal(got, want) {
		t.Error("a restored judge decides otherwise")
	}
}

// appendFirstFormat appends all of the state in the first format.
func (j *Judge) appendFirstFormat() []byte {
	b := varint.AppendInt(nil, j.rev)
	b = varint.AppendInt(b, j.logTime)
	b = varint.AppendUint(b, j.counts.Events)
	b, _ = j.alerts.AppendChanges(b, true)
	b, _ = j.seen.AppendChanges(b, true)
	b, _ = j.windows.AppendChanges(b)
	return b
}

// TestCheckpointsOfTheFirstFormat upgrades: everything that such a checkpoint has goes on, and rules are counted from then on.
func TestCheckpointsOfTheFirstFormat(t *testing.T) {
	book := bookOf(t)
	plain := New(Config{Book: book})
	defer plain.Close()
	judgeSome(plain, 0, 100)
	again := restore(t, book, plain.appendFirstFormat())
	read := func(b []byte) (all []schema.Verdict) {
		v, err := schema.DecodeVerdict(b)
		if err != nil {
			t.Fatal(err)
		}
		return append(all, v)
	}
	before := plain.tally.Total()
	for offset := int64(100); offset < 200; offset++ {
		got, want := read(judgeSome(again, offset, offset+1))[0], read(judgeSome(plain, offset, offset+1))[0]
		if !reflect.DeepEqual(got.Exceptions, want.Exceptions) {
			t.Fatalf("offset %d: %+v, want %+v", offset, got.Exceptions, want.Exceptions)
		}
		if got.Counted != want.Counted-before {
			t.Fatalf("offset %d: %d counted, want %d", offset, got.Counted, want.Counted-before)
		}
	}
	if before == 0 || again.tally.Total() == 0 {
		t.Error("nothing was counted")
	}
}

func TestCheckpointsOfALaterFormatAreRefused(t *testing.T) {
	j := New(Config{Book: rules.NewBook()})
	defer j.Close()
	err := j.ApplyChanges(varint.AppendInt(varint.AppendInt(nil, -format-1), 5))
	if err == nil || !strings.Contains(err.Error(), "format 3") {
		t.Errorf("error %v", err)
	}
}
