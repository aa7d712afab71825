package admin

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/gofiber/fiber/v2"

	"keypulse/internal/auth"
	"keypulse/internal/httpapi"
)

const (
	defaultLimit = 50
	maxLimit     = 500
)

var listParams = []string{"limit", "cursor"}

// list answers with a page of the tenant's API keys, the oldest first. A page's cursor is the id of its last API key: none
// ever leaves the list.
func (a *Admin) list(c *fiber.Ctx) error {
	keys := a.cfg.Keys.List(httpapi.IdentityOf(c).Tenant)
	limit, first, err := readPage(c, keys)
	if err != nil {
		return err
	}
	keys = keys[first:]
	out := struct {
		Success    bool       `json:"success"`
		APIKeys    []shownKey `json:"api_keys"`
		NextCursor *string    `json:"next_cursor"`
		HasMore    bool       `json:"has_more"`
	}{Success: true, APIKeys: []shownKey{}, HasMore: len(keys) > limit}
	if out.HasMore {
		keys = keys[:limit]
		out.NextCursor = &keys[limit-1].Record.ID
	}
	for _, e := range keys {
		out.APIKeys = append(out.APIKeys, shown(e.Record, e.LastUsed()))
	}
	return httpapi.JSON(c, fiber.StatusOK, out)
}

// readPage reads which part of the keys is wanted.
func readPage(c *fiber.Ctx, keys []*auth.Entry) (limit, first int, err error) {
	values, err := httpapi.Params(c, listParams...)
	if err != nil {
		return 0, 0, err
	}
	var bad []httpapi.FieldError
	limit = defaultLimit
	if s, ok := values["limit"]; ok {
		if limit, err = strconv.Atoi(s); err != nil || limit < 1 || limit > maxLimit || strconv.Itoa(limit) != s {
			bad = append(bad, httpapi.FieldError{Field: "limit", Message: fmt.Sprintf("must be an integer from 1 to %d", maxLimit)})
		}
	}
	if cursor, ok := values["cursor"]; ok {
		// Of another tenant's API key nothing else is said than of none.
		first = 1 + slices.IndexFunc(keys, func(e *auth.Entry) bool { return e.Record.ID == cursor })
		if first == 0 {
			bad = append(bad, httpapi.FieldError{Field: "cursor", Message: "is not a cursor that this list has given"})
		}
	}
	if bad != nil {
		return 0, 0, httpapi.InvalidParameters(bad...)
	}
	return limit, first, nil
}
