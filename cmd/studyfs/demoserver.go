package main

import (
	"crypto/rand"
	"fmt"
	"iter"
	"net"
	"net/http"
	"time"

	"studyfs/backends/s3/s3test"
	"studyfs/backends/s3/s3test/sample"
)

// What the demo serves. The names are made up, as all of its data.
const (
	demoRegion     = "eu-central-1"
	demoSeed       = 1
	empaticaBucket = "empatica-demo-eu-central-1-prod-data"
	empaticaPrefix = "v2/4711/"
	hcpBucket      = "hcp-openaccess"
	hcpPrefix      = "HCP_1200/"
	bidsBucket     = "bids-demo"
	bidsPrefix     = ""
	labBucket      = "study" // empty, for files to be copied into
)

// demo is the embedded servers and what clients must know of them.
type demo struct {
	server   *http.Server
	endpoint string
	buckets  []string
	admin    demoKey // of all buckets
	empatica demoKey // of one prefix, as the portal's keys are
	beiwe    *demoBeiwe
}

type demoKey struct{ id, secret string }

func newDemoKey() demoKey {
	return demoKey{id: "AKIA" + rand.Text()[:16], secret: rand.Text() + rand.Text()[:14]}
}

// csv is a keys file in the form of the portal, or without an address in that of AWS.
func (k demoKey) csv(address string) []byte {
	if address == "" {
		return []byte("Access key ID,Secret access key\r\n" + k.id + "," + k.secret + "\r\n")
	}
	return []byte("Access key ID,Secret access key,S3 access URL\r\n" + k.id + "," + k.secret + "," + address + "\r\n")
}

// startDemo starts the server on a free port of this machine only.
func startDemo() (*demo, error) {
	d := &demo{buckets: []string{empaticaBucket, hcpBucket, bidsBucket, labBucket}, admin: newDemoKey(), empatica: newDemoKey()}
	store := s3test.New(s3test.Options{Region: demoRegion, Now: time.Now, Seed: demoSeed})
	for _, bucket := range d.buckets {
		store.CreateBucket(bucket)
	}
	fillDemo(store)
	store.AddKey(s3test.AccessKey{ID: d.admin.id, Secret: d.admin.secret})
	store.AddKey(s3test.AccessKey{
		ID: d.empatica.id, Secret: d.empatica.secret,
		Grants: []s3test.Grant{{Bucket: empaticaBucket, Prefix: empaticaPrefix}},
	})
	listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // closed with the server
	if err != nil {
		return nil, fmt.Errorf("demo server: %w", err)
	}
	d.endpoint = "http://" + listener.Addr().String()
	d.server = &http.Server{Handler: store, ReadHeaderTimeout: time.Minute}
	go d.server.Serve(listener) //nolint:errcheck // ends with close, which is its only error
	if d.beiwe, err = startDemoBeiwe(); err != nil {
		d.close()
		return nil, err
	}
	return d, nil
}

func (d *demo) close() {
	if d.beiwe != nil {
		d.beiwe.close()
	}
	d.server.Close() //nolint:errcheck // nothing to lose
}

// sources are the demo's folders.
func (d *demo) sources() []sourceSpec {
	base := sourceSpec{Kind: kindS3, Endpoint: d.endpoint, Region: demoRegion, KeysCSV: d.admin.csv(""), KeysFrom: "the demo"}
	empatica, hcp, bids, lab := base, base, base, base
	empatica.Name, empatica.Kind, empatica.Bucket, empatica.Prefix = "empatica", kindEmpatica, empaticaBucket, empaticaPrefix
	empatica.KeysCSV = d.empatica.csv(empatica.url())
	hcp.Name, hcp.Kind, hcp.Bucket, hcp.Prefix = "hcp", kindHCP, hcpBucket, hcpPrefix
	bids.Name, bids.Bucket, bids.Prefix = "bids", bidsBucket, bidsPrefix
	lab.Name, lab.Bucket, lab.Write = "lab", labBucket, &writeSpec{}
	return []sourceSpec{d.beiwe.source(), bids, empatica, hcp, lab}
}

// fillDemo puts the sample data into the buckets.
func fillDemo(store *s3test.Server) {
	fill := func(bucket string, objects iter.Seq2[string, s3test.Object]) {
		for key, o := range objects {
			store.Put(bucket, key, o)
		}
	}
	fill(empaticaBucket, sample.Empatica(sample.Options{}))
	fill(hcpBucket, sample.HCP(sample.Options{}))
	fill(bidsBucket, sample.BIDS(sample.Options{}))
}
