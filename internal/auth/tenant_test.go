package auth_test

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"keypulse/internal/auth"
	"keypulse/internal/auth/authtest"
)

const (
	authPath   = "keypulse/internal/auth"
	tenantType = authPath + ".Tenant"
	nameType   = "keypulse/schema.Tenant"
)

// doors are what package auth hands a Tenant out by, each with why it may. A new one needs as good a reason.
var doors = map[string]string{
	"(*keypulse/internal/auth.Table).Lookup":       "the sender of a request has presented the API key",
	"(*keypulse/internal/auth.Table).LookupTicket": "it has presented a ticket, which was signed for who had presented the API key, and for the first time",
}

// makers are the functions of package auth that make one.
var makers = map[string]string{
	"keypulse/internal/auth.decodeEntry": "it makes what Lookup hands out",
}

// operators are packages that know of Tenants and speak for nobody: who runs the process names the tenant.
var operators = []string{authPath, authPath + "/authtest", "keypulse/cmd/keypulse"}

// TestTenantHasTwoDoors reads the whole module. Only the makers make a Tenant; only the doors hand one out; nothing becomes
// one by a conversion, also not through unsafe; and in the packages that know of Tenants no function takes a mere name.
func TestTenantHasTwoDoors(t *testing.T) {
	m := module{fset: token.NewFileSet()}
	m.list(t)
	seen := map[string]bool{}
	for _, p := range m.packages {
		files, info := m.check(t, p)
		w := wall{p.ImportPath, info, m.fset, seen, t}
		for _, f := range files {
			for _, d := range f.Decls {
				w.decl(d)
			}
		}
	}
	for name := range makers {
		if !seen[name] {
			t.Errorf("%s makes no Tenant: take it off the list", name)
		}
	}
	for name := range doors {
		if !seen[name] {
			t.Errorf("%s hands out no Tenant: take it off the list", name)
		}
	}
}

// wall looks at the declarations of one package.
type wall struct {
	path string
	info *types.Info
	fset *token.FileSet
	seen map[string]bool
	t    *testing.T
}

func (w wall) decl(d ast.Decl) {
	name := "a declaration"
	if f, ok := d.(*ast.FuncDecl); ok {
		object, _ := w.info.Defs[f.Name].(*types.Func)
		name = object.FullName()
		w.handsOut(f, object)
	} else if w.path == authPath {
		w.variables(d)
	}
	ast.Inspect(d, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CompositeLit:
			if w.is(n, tenantType) && len(n.Elts) > 0 {
				w.makes(n, name)
			}
		case *ast.AssignStmt:
			for _, left := range n.Lhs {
				if s, ok := left.(*ast.SelectorExpr); ok && w.is(s.X, tenantType) {
					w.makes(n, name)
				}
			}
		case *ast.CallExpr:
			if to := w.info.Types[n.Fun]; to.IsType() && reaches(to.Type, all) {
				w.makes(n, name)
			}
		case *ast.FuncType:
			w.takes(n)
		}
		return true
	})
}

func (w wall) makes(n ast.Node, name string) {
	w.seen[name] = true
	if makers[name] == "" {
		w.t.Errorf("%v: %s makes an auth.Tenant", w.fset.Position(n.Pos()), name)
	}
}

// handsOut looks at the results of what package auth exports.
func (w wall) handsOut(f *ast.FuncDecl, object *types.Func) {
	if w.path != authPath || !object.Exported() {
		return
	}
	results := object.Signature().Results()
	for i := range results.Len() {
		if reaches(results.At(i).Type(), exported) {
			w.seen[object.FullName()] = true
			if doors[object.FullName()] == "" {
				w.t.Errorf("%v: %s hands out an auth.Tenant", w.fset.Position(f.Pos()), object.FullName())
			}
		}
	}
}

// variables looks at what package auth exports without a function.
func (w wall) variables(d ast.Decl) {
	ast.Inspect(d, func(n ast.Node) bool {
		if v, ok := n.(*ast.ValueSpec); ok {
			for _, name := range v.Names {
				if name.IsExported() && reaches(w.info.Defs[name].Type(), exported) {
					w.t.Errorf("%v: %s hands out an auth.Tenant", w.fset.Position(n.Pos()), name)
				}
			}
		}
		return true
	})
}

// takes looks at the parameters of a function that acts on somebody's behalf.
func (w wall) takes(f *ast.FuncType) {
	if slices.Contains(operators, w.path) {
		return
	}
	for _, p := range f.Params.List {
		named := slices.ContainsFunc(p.Names, func(n *ast.Ident) bool { return strings.Contains(strings.ToLower(n.Name), "tenant") })
		if w.is(p.Type, nameType) || w.is(p.Type, "string") && named {
			w.t.Errorf("%v: it takes the name of a tenant, not an auth.Tenant", w.fset.Position(p.Pos()))
		}
	}
}

func (w wall) is(e ast.Expr, name string) bool {
	of := w.info.TypeOf(e)
	if p, ok := of.(*types.Pointer); ok {
		of = p.Elem()
	}
	return of != nil && of.String() == name
}

func exported(f *types.Var) bool { return f.Exported() }

func all(*types.Var) bool { return true }

// reaches reports whether a value of type t leads to a Tenant through such fields.
func reaches(t types.Type, through func(*types.Var) bool) bool {
	seen := map[types.Type]bool{}
	var look func(types.Type) bool
	look = func(t types.Type) bool {
		if seen[t] {
			return false
		}
		seen[t] = true
		if t.String() == tenantType {
			return true
		}
		switch u := t.Underlying().(type) {
		case *types.Pointer:
			return look(u.Elem())
		case *types.Slice:
			return look(u.Elem())
		case *types.Array:
			return look(u.Elem())
		case *types.Chan:
			return look(u.Elem())
		case *types.Map:
			return look(u.Key()) || look(u.Elem())
		case *types.Struct:
			for i := range u.NumFields() {
				if through(u.Field(i)) && look(u.Field(i).Type()) {
					return true
				}
			}
		}
		return false
	}
	return look(t)
}

// module is all packages of the module that know of Tenants, as `go list` has them.
type module struct {
	fset     *token.FileSet
	packages []listed
	exports  map[string]string // the compiled types of every package, by its path
}

type listed struct {
	ImportPath, Dir, Export string
	GoFiles, Imports        []string
}

func (m *module) list(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "go", "list", "-export", "-deps", "-json=ImportPath,Dir,Export,GoFiles,Imports", "keypulse/...")
	out, err := cmd.Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		t.Fatalf("%v: %s", err, exit.Stderr)
	} else if err != nil {
		t.Fatal(err)
	}
	m.exports = map[string]string{}
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
		m.exports[p.ImportPath] = p.Export
		if p.ImportPath == authPath || slices.Contains(p.Imports, authPath) {
			m.packages = append(m.packages, p)
		}
	}
}

// check reads a package as the compiler does.
func (m *module) check(t *testing.T, p listed) ([]*ast.File, *types.Info) {
	var files []*ast.File
	for _, name := range p.GoFiles {
		f, err := parser.ParseFile(m.fset, filepath.Join(p.Dir, name), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	info := &types.Info{Types: map[ast.Expr]types.TypeAndValue{}, Defs: map[*ast.Ident]types.Object{}, Uses: map[*ast.Ident]types.Object{}}
	cfg := types.Config{Importer: importer.ForCompiler(m.fset, "gc", func(path string) (io.ReadCloser, error) { return os.Open(m.exports[path]) })}
	if _, err := cfg.Check(p.ImportPath, m.fset, files, info); err != nil {
		t.Fatal(err)
	}
	return files, info
}

func TestZeroTenantIsNobody(t *testing.T) {
	var nobody auth.Tenant
	if nobody.Owns("") || nobody.Owns("demo") {
		t.Error("the zero tenant owns something")
	}
	defer func() {
		if recover() == nil {
			t.Error("the zero tenant has a name")
		}
	}()
	_ = nobody.Name()
}

func TestTenantOwns(t *testing.T) {
	if demo := authtest.Tenant(t, "demo"); !demo.Owns("demo") || demo.Owns("other") || demo.Name() != "demo" || demo.String() != "demo" {
		t.Errorf("%v is not demo alone", demo)
	}
}
