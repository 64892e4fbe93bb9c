package s3

import (
	"testing"

	"studyfs/backends/backendtest"
	"studyfs/backends/s3/s3test"
)

func TestConformance(t *testing.T) {
	for _, size := range []int{1, 2, 1000} {
		backendtest.Run(t, func(t *testing.T) backendtest.Harness {
			srv, url := server(t, s3test.Options{PageSize: size})
			o := options(url)
			o.Region = "us-east-1"
			return backendtest.Harness{
				Source: open(t, o),
				Put:    func(key string, body []byte) { srv.Put("study", "v2/001/"+key, s3test.Bytes(body)) },
				Remove: func(key string) { srv.Delete("study", "v2/001/"+key) },
				Odd:    true,
			}
		})
	}
}
