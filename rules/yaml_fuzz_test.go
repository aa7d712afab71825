package rules

import "testing"

// FuzzRuleFile feeds any text: it is refused with errors, or gives rules that compile.
func FuzzRuleFile(f *testing.F) {
	f.Add("id: a\nname: n\nwhen: |\n  true &&\n    foo()\nseverity: warning\n")
	f.Add("- {id: a, name: n, when: 'true', severity: critical, dedup: 0, tests: [{x: &y 1, z: *y}]}\n---\n- 1\n")
	f.Add("id: \"a\\n\"\nwhen: >-\n  a\n  b\nmessage: '{{'\n<<: *x\n")
	f.Fuzz(func(t *testing.T, text string) {
		list, err := ParseYAML("f.yaml", []byte(text))
		if err != nil {
			if err.Error() == "" {
				t.Error("an error without a message")
			}
			return
		}
		for _, r := range list {
			if _, err := Compile(r); err != nil {
				t.Errorf("%+v: %v", r, err)
			}
		}
	})
}
