package query

import (
	"github.com/gofiber/fiber/v2"

	"keypulse/internal/answer"
	"keypulse/internal/httpapi"
)

// page is a list's answer while it is written: {"success": true, "<name>": […], "next_cursor": …, "has_more": …}.
// Statements ask for one row more than the limit, and so know whether there are more.
type page struct {
	list  list
	limit int // 0 = none
	rows  int
	last  place // of the last row that is shown
	more  bool
	body  []byte
}

func newPage(l list, name string, limit int) *page {
	return &page{list: l, limit: limit, body: append(append([]byte(`{"success":true,"`), name...), `":[`...)}
}

// add appends a row, unless it is the one beyond the limit. put appends the row's JSON.
func (p *page) add(at place, put func(b []byte) []byte) {
	if p.limit > 0 && p.rows == p.limit {
		p.more = true
		return
	}
	if p.rows > 0 {
		p.body = append(p.body, ',')
	}
	p.rows++
	p.last = at
	p.body = put(p.body)
}

// close appends the end of the answer.
func (p *page) close() {
	p.body = append(p.body, `],"next_cursor":`...)
	if p.more {
		p.body = answer.AppendString(p.body, p.last.cursor(p.list))
		p.body = append(p.body, `,"has_more":true}`...)
		return
	}
	p.body = append(p.body, `null,"has_more":false}`...)
}

// send closes the page and makes it the answer.
func (p *page) send(c *fiber.Ctx) error {
	p.close()
	return httpapi.Raw(c, fiber.StatusOK, p.body)
}
