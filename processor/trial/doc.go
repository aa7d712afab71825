// Package trial runs rules over given events, as their authors' tests ask for it.
//
// The invariant it keeps: what it decides is what the processor decides, because both use package judge: windows, nil,
// dedup, scores and messages are the very same code. It is pure: no clock, no broker, no I/O.
//
//	list, tests, err := trial.Parse("export-burst.yaml", data) // err is rules.Errors: file, line, column, caret
//	for _, t := range tests {
//		result, err := t.Run(list)
//		if err == nil && !result.Passed() {
//			fmt.Println(result.Difference)
//		}
//	}
//
// docs/rules.md (§ Tests) describes what authors write.
package trial
