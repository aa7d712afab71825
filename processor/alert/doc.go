// Package alert decides which hit raises an alert and which counts on one that is there.
//
// The invariant it keeps: for one rule and one key there is at most one alert in any dedup interval, unless more alerts are
// remembered than the bound allows, and an alert's id is a function of tenant, rule, version and event, so that judging the
// same log again makes the same alerts. It is pure: no clock, no I/O; time is the key's effective time.
//
//	alerts := alert.NewTracker(alert.Config{})
//	hit, raised := alerts.Hit(alert.Occurrence{…})
package alert
