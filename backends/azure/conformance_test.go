package azure

import (
	"net/http/httptest"
	"testing"

	"studyfs/backends/azure/azuretest"
	"studyfs/backends/backendtest"
)

// What a user sees must not depend on how many names a page holds, nor on which of the services this is.
func TestConformance(t *testing.T) {
	for name, o := range map[string]azuretest.Options{
		"a name per page":       {PageSize: 1},
		"two":                   {PageSize: 2},
		"all":                   {},
		"without startFrom":     {PageSize: 2, IgnoreStart: true},
		"startFrom is relative": {PageSize: 3, WrongStart: true},
		"hierarchical":          {Hierarchical: true},
		"hierarchical, by two":  {Hierarchical: true, PageSize: 2},
	} {
		t.Run(name, func(t *testing.T) {
			backendtest.Run(t, func(t *testing.T) backendtest.Harness {
				srv, src := serve(t, o)
				return backendtest.Harness{
					Source: src,
					Put:    func(key string, body []byte) { srv.Put("v2/001/"+key, azuretest.Blob{Body: body}) },
					Remove: func(key string) { srv.Delete("v2/001/" + key) },
					Odd:    true,
				}
			})
		})
	}
}

const accountKey = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="

func serve(t *testing.T, so azuretest.Options, change ...func(*Options)) (*azuretest.Server, *Source) {
	t.Helper()
	so.Account, so.Container = "lab", "study"
	srv := azuretest.New(so)
	web := httptest.NewServer(srv)
	t.Cleanup(web.Close)
	key, err := ParseKey(accountKey)
	if err != nil {
		t.Fatal(err)
	}
	o := Options{
		Account: "lab", Container: "study", Prefix: "v2/001/", Endpoint: web.URL + "/lab",
		Credentials: Static(key),
	}
	for _, c := range change {
		c(&o)
	}
	src, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return srv, src
}
