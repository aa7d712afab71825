package query

import (
	"fmt"

	"github.com/gofiber/fiber/v2"

	"keypulse/internal/httpapi"
	"keypulse/schema"
)

// codeKeyLimit is the `code` of a failure: see schema.MaxDescribed.
const codeKeyLimit = "key_limit"

// describeKey is PUT /api/keys/{key_id}: what the owner says of a key, before or after its first event. It replaces all
// that was said before. With a version it replaces that version and no other.
func (q *Query) describeKey(c *fiber.Ctx) error {
	if _, err := parseParams(c); err != nil {
		return err
	}
	keyID, err := pathKeyID(c)
	if err != nil {
		return err
	}
	r, replaces, err := readKeyRecord(c, keyID)
	if err != nil {
		return err
	}
	identity := httpapi.IdentityOf(c)
	current := int64(0)
	switch last := q.cfg.Keyring.get(identity.Tenant, keyID); {
	case last != nil:
		current = last.Version
	case !q.cfg.Keyring.fits(identity.Tenant):
		return httpapi.BadRequest(codeKeyLimit, fmt.Sprintf("At most %d keys can be described.", q.cfg.Keyring.max))
	}
	if replaces != nil && *replaces != current {
		return keyConflict(current, fmt.Sprintf("The key is at version %d, not %d: read it again.", current, *replaces))
	}
	r.Tenant, r.Version, r.By, r.At = identity.Tenant.Name(), current+1, identity.KeyID, schema.MillisOf(q.cfg.Now())

	// A write that has begun is not given up because nobody waits for its answer.
	j := q.newJob(identity.Tenant, httpapi.RequestID(c), q.cfg.StatementTimeout)
	defer j.end()
	if err := j.appendKey(r); err != nil {
		return err
	}
	if err := j.seeActions(0); err != nil {
		return err
	}
	sums, err := j.sumKeys(j.keysAre(keyFilter{}, []string{keyID}), 0)
	if err != nil {
		return err
	}
	var k keySums
	if len(sums) > 0 {
		k = sums[0]
	}
	return httpapi.Raw(c, fiber.StatusOK, append(appendKey([]byte(`{"success":true,`), j.tenant, &r, k), '}'))
}

// appendKey writes a record to the log, waits until this node has read it back, and looks whether it is the one that
// counts, as [Query.appendRule] does for rules.
func (j *job) appendKey(r schema.KeyRecord) error {
	offset, err := j.q.cfg.AppendKey(j.ctx, r)
	if err == nil {
		err = j.q.cfg.Keyring.wait(j.ctx, offset+1)
	}
	if err != nil {
		cause := fmt.Errorf("write key %q: %w", r.KeyID, err)
		return unavailable(codeOutcomeUnknown, "The change may or may not have been made: read the key and try again.", cause)
	}
	now := j.q.cfg.Keyring.get(j.tenant, r.KeyID)
	switch {
	case now == nil:
		return httpapi.BadRequest(codeKeyLimit, fmt.Sprintf("At most %d keys can be described.", j.q.cfg.Keyring.max))
	case now.offset != offset:
		return keyConflict(now.Version, "Somebody else has described the key at the same time: read it again.")
	}
	return nil
}

// keyConflict is the 409 that names the version in force.
func keyConflict(version int64, message string) error {
	e := httpapi.Conflict(message)
	e.Extra = map[string]any{"current_version": version}
	return e
}
