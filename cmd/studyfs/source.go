package main

import (
	"fmt"
	"maps"
	"net/url"
	"os"
	"slices"
	"strings"

	"studyfs/backends"
)

// The kinds of sources.
const (
	kindS3       = "s3"
	kindEmpatica = "empatica"
	kindHCP      = "hcp"
	kindBeiwe    = "beiwe"
	kindAzure    = "azure"
	kindDir      = "dir"
	kindEcog     = "ecog"
)

// Where the Human Connectome Project keeps its open data.
const (
	hcpURL     = "s3://hcp-openaccess/HCP_1200/"
	hcpRegion  = "us-east-1"
	hcpProfile = "hcp"
)

// sourceSpec is a source ready to be opened: what the serving process is told of it. It travels through a pipe only,
// since it may hold keys.
type sourceSpec struct {
	Name          string `json:"name"` // its folder where there are several
	Kind          string `json:"kind"`
	Bucket        string `json:"bucket"`
	Prefix        string `json:"prefix"`
	Endpoint      string `json:"endpoint,omitempty"`
	Region        string `json:"region,omitempty"`
	Profile       string `json:"profile,omitempty"`
	Anonymous     bool   `json:"anonymous,omitempty"`
	RequesterPays bool   `json:"requester_pays,omitempty"`
	KeysCSV       []byte `json:"keys_csv,omitempty"`  // a keys file as it is
	KeysFrom      string `json:"keys_from,omitempty"` // where that came from, for messages
	KeysRef       string `json:"keys_ref,omitempty"`  // the same as the configuration writes it, to read them again

	Beiwe *beiweSpec `json:"beiwe,omitempty"` // of that kind; Bucket and all that goes with it is empty then
	Azure *azureSpec `json:"azure,omitempty"` // of that kind; Bucket is empty then, and what is only for S3
	Dir   *dirSpec   `json:"dir,omitempty"`   // of that kind; Bucket is empty then
	Write *writeSpec `json:"write,omitempty"` // nil: nothing is ever written
	Crypt *cryptSpec `json:"crypt,omitempty"` // nil: objects are shown as they are
	View  *viewSpec  `json:"view,omitempty"`  // nil: all is shown under its own name only
	Gate  *gateSpec  `json:"gate,omitempty"`  // nil: nothing is known of rules by which files leave this machine

	AtRest *atRestSpec `json:"at_rest,omitempty"` // nil: what is kept of it lies in clear on this disk

	StageKey []byte `json:"stage_key,omitempty"` // what its staged files are encrypted with; nil: they are in clear

	Audit auditMode `json:"audit,omitempty"` // "": what audited says

	MaxRequests int   `json:"max_requests,omitempty"` // at once; 0: the defaults
	Bandwidth   int64 `json:"bandwidth,omitempty"`    // bytes a second; 0: no limit

	Targets []targetSpec `json:"targets,omitempty"` // of kind ecog; all else that leads to a place is empty then
}

// id stays the same over runs, and over new keys for the same place.
func (s sourceSpec) id() string {
	if s.Beiwe != nil { // another account may see other studies of the same server
		return hashOf(s.Kind, s.Beiwe.Server, s.Beiwe.AccessKey)
	}
	where := []string{s.Kind, s.Endpoint, s.Bucket, s.Prefix}
	if s.Azure != nil {
		where = []string{s.Kind, s.Endpoint, s.Azure.Account, s.Azure.Container, s.Prefix}
	}
	if s.Dir != nil {
		where = []string{s.Kind, s.Dir.Path}
	}
	if len(s.Targets) > 0 {
		where = s.targetIDs()
	}
	if s.Crypt != nil { // other names, sizes and bytes than the same place as it is
		where = append(where, "in clear")
	}
	return hashOf(where...)
}

func (s sourceSpec) url() string {
	if s.Beiwe != nil {
		return s.Beiwe.Server
	}
	if s.Azure != nil {
		return "azure://" + s.Azure.Account + "/" + s.Azure.Container + "/" + s.Prefix
	}
	if s.Dir != nil {
		return "dir:" + s.Dir.Path
	}
	if len(s.Targets) > 0 {
		return s.urls()
	}
	return "s3://" + s.Bucket + "/" + s.Prefix
}

// describe names the source in messages. An Empatica bucket is the same for all customers: the keys file says more.
func (s sourceSpec) describe() string {
	if s.Kind == kindEmpatica || s.Kind == kindBeiwe {
		return s.url() + " (" + s.Kind + ")"
	}
	return s.url()
}

func (s sourceSpec) origin() string {
	if s.Kind == kindEmpatica {
		return s.KeysFrom
	}
	return s.url()
}

func (s sourceSpec) protocol() string {
	if s.Beiwe != nil {
		return "Beiwe's language"
	}
	if s.Azure != nil {
		return "Azure's blob protocol"
	}
	return "S3"
}

func (s sourceSpec) endpointHint() string {
	if s.Beiwe != nil {
		return " and the address " + s.Beiwe.Server
	}
	if s.Endpoint == "" {
		return ""
	}
	return " and the address " + s.Endpoint
}

func (s sourceSpec) newKeysHint() string {
	switch {
	case s.Kind == kindBeiwe:
		return "create new access credentials on the server's page Manage My Credentials and put them into " + s.KeysFrom
	case s.Kind == kindEmpatica:
		return "create new Data Access Keys in the Empatica portal, download the CSV and mount with that (now: " + s.KeysFrom + ")"
	case s.Azure != nil && !s.Anonymous:
		return s.Azure.newKeyHint(s.KeysFrom)
	case s.KeysFrom != "":
		return "put valid keys into " + s.KeysFrom
	case s.Profile != "":
		return "renew the keys of profile " + s.Profile + " in ~/.aws/credentials (or run: aws sso login --profile " + s.Profile + ")"
	}
	return "renew the keys of the AWS configuration, or choose others with --profile"
}

func (s sourceSpec) permissionHint() string {
	switch {
	case s.Kind == kindBeiwe:
		return "ask the study's administrator for a role in it (now: " + s.KeysFrom + ")"
	case s.Kind == kindEmpatica:
		return "check that the S3 access URL in " + s.KeysFrom + " is complete, as the portal shows it: these keys open exactly one folder"
	case s.Kind == kindHCP:
		return "accept the data use terms at https://db.humanconnectome.org and take the keys that it gives you (profile " + s.Profile + ")"
	case s.Azure != nil && s.Anonymous:
		return "this is not public data: leave out --anonymous and give a key"
	case s.Azure != nil:
		return s.Azure.permissionHint(s.KeysFrom)
	case s.Anonymous:
		return "this is not public data: leave out --anonymous and choose keys with --profile"
	}
	return "keys are often limited to a folder: give the exact one, such as s3://" + s.Bucket + "/folder/; or choose other keys with --profile"
}

// sourcesOf turns the SOURCE arguments into sources; none means all of the configuration. Notices are for the user.
func (l *loaded) sourcesOf(args []string) (sources []sourceSpec, notices []string, err error) {
	if len(args) == 0 {
		args = slices.Sorted(maps.Keys(l.Source))
	}
	if len(args) == 0 {
		return nil, nil, &failure{
			What: "nothing to mount", Why: "no SOURCE was given and " + l.path + " names none",
			Do: "studyfs mount empatica:KEYS.csv DIR\nstudyfs mount s3://bucket/prefix/ DIR\nor try it without keys: studyfs demo", Code: exitUsage,
		}
	}
	taken := map[string]bool{}
	for _, arg := range args {
		s, more, err := l.parseSource(arg)
		if err == nil {
			err = s.readSecrets(l.env)
		}
		if err != nil {
			return nil, nil, err
		}
		base := s.Name
		for n := 2; taken[s.Name]; n++ {
			s.Name = fmt.Sprintf("%s-%d", base, n)
		}
		taken[s.Name] = true
		sources, notices = append(sources, s), append(notices, more...)
	}
	return sources, notices, nil
}

func (l *loaded) parseSource(arg string) (sourceSpec, []string, error) {
	if _, ok := l.Source[arg]; ok {
		c, err := l.source(arg)
		if err != nil {
			return sourceSpec{}, nil, err
		}
		return l.build(arg, c, exitConfig)
	}
	c, err := l.source("")
	if err != nil {
		return sourceSpec{}, nil, err
	}
	scheme, rest, hasScheme := strings.Cut(arg, ":")
	if !hasScheme {
		return sourceSpec{}, nil, l.unknownSource(arg)
	}
	if err := l.address(&c, scheme, rest, arg); err != nil {
		return sourceSpec{}, nil, err
	}
	return l.build("", c, exitUsage)
}

// address takes a SOURCE that is no name of the configuration apart.
func (l *loaded) address(c *sourceConfig, scheme, rest, arg string) error {
	switch scheme {
	case kindEmpatica:
		if rest == "" {
			return usagef("empatica: needs the keys file: empatica:KEYS.csv")
		}
		c.Kind, c.Keys = kindEmpatica, "file:"+rest
	case kindHCP:
		if rest != "" {
			return usagef("%s: hcp: takes nothing after the colon", arg)
		}
		c.Kind = kindHCP
	case kindS3:
		c.Kind, c.URL = kindS3, arg
	case kindBeiwe:
		c.Kind, c.Section = kindBeiwe, rest
	case kindAzure:
		c.Kind, c.URL = kindAzure, arg
	case kindDir:
		c.Kind, c.URL = kindDir, arg
	default:
		return l.unknownSource(arg)
	}
	return nil
}

func (l *loaded) unknownSource(arg string) error {
	f := &failure{What: arg, Why: "not a source", Code: exitUsage}
	f.Do = "a source is empatica:KEYS.csv, beiwe:SECTION, hcp:, s3://bucket/prefix/, azure://account/container/prefix/, dir:PATH or a name from " + l.path
	candidates := append(slices.Sorted(maps.Keys(l.Source)), "empatica:", "beiwe:", "hcp:", "s3://", "azure://", "dir:")
	switch info, err := os.Stat(arg); {
	case err == nil && info.Mode().IsRegular():
		f.Do = "did you mean empatica:" + arg + "?"
	default:
		if near := nearest(arg, candidates); near != "" {
			f.Do = "did you mean " + near + "?\n" + f.Do
		}
	}
	return f
}

// build makes a source of its settings. wrongURL is the exit code for a URL that cannot be one.
func (l *loaded) build(name string, c sourceConfig, wrongURL int) (sourceSpec, []string, error) {
	s, notices, err := l.buildKind(name, c, wrongURL)
	if err == nil {
		s.AtRest, err = buildAtRest(c)
	}
	if err == nil {
		s.View, err = buildView(s, c)
	}
	if err == nil && c.MaxRequests < 0 {
		err = usagef("--max-requests: %d is no number of requests; 0 is the default", c.MaxRequests)
	}
	s.Audit, s.MaxRequests, s.Bandwidth = c.Audit, c.MaxRequests, int64(c.Bandwidth)
	return s, notices, err
}

func (l *loaded) buildKind(name string, c sourceConfig, wrongURL int) (sourceSpec, []string, error) {
	if c.Kind == kindBeiwe {
		s, err := l.buildBeiwe(name, c)
		if err == nil {
			s.Write, err = l.buildWrite(s, c)
		}
		if err == nil {
			_, err = l.buildCrypt(s, c)
		}
		return s, nil, err
	}
	var s sourceSpec
	var notices []string
	var err error
	switch c.Kind {
	case kindAzure:
		s, notices, err = l.buildAzure(name, c, wrongURL)
	case kindDir:
		s, err = buildDir(name, c, wrongURL)
	case kindEcog:
		s, notices, err = l.buildEcog(name, c)
	default:
		s, notices, err = buildS3(name, c, wrongURL)
	}
	if err == nil {
		s.Write, err = l.buildWrite(s, c)
	}
	if err == nil && c.Kind != kindEcog { // its targets are
		s.Crypt, err = l.buildCrypt(s, c)
	}
	if err == nil {
		s.Gate, err = l.buildGate(s, c)
	}
	return s, notices, err
}

func buildS3(name string, c sourceConfig, wrongURL int) (s sourceSpec, notices []string, err error) {
	s = sourceSpec{
		Name: name, Kind: c.Kind, Endpoint: c.EndpointURL, Region: c.Region,
		Profile: c.Profile, Anonymous: c.Anonymous, RequesterPays: c.RequesterPays,
	}
	if err := checkEndpoint(c.EndpointURL); err != nil {
		return s, nil, err
	}
	if c.hasKeys() && !c.Anonymous {
		if notices, err = s.readKeys(c); err != nil {
			return s, nil, err
		}
	}
	address, from := c.URL, s.describeName()
	switch {
	case c.Kind == kindEmpatica && address == "":
		from, wrongURL = s.KeysFrom, exitConfig
		if address, err = s.keysURL(); err != nil {
			return s, nil, err
		}
	case c.Kind == kindHCP:
		s.fillHCP(&address)
	}
	var added bool
	if s.Bucket, s.Prefix, added, err = splitURL(address); err != nil {
		return s, nil, &failure{What: from, Why: err.Error(), Do: "an S3 address looks like s3://bucket/prefix/", Code: wrongURL}
	}
	if added {
		notices = append(notices, fmt.Sprintf("added the missing slash at the end of %s", s.url()))
	}
	if s.Name == "" {
		s.Name = s.deriveName()
	}
	return s, notices, nil
}

func (s *sourceSpec) fillHCP(address *string) {
	if *address == "" {
		*address = hcpURL
	}
	if s.Region == "" && s.Endpoint == "" {
		s.Region = hcpRegion
	}
	if s.Profile == "" && !s.Anonymous && len(s.KeysCSV) == 0 {
		s.Profile = hcpProfile
	}
}

func (s *sourceSpec) describeName() string {
	if s.Name != "" {
		return "[source." + s.Name + "]"
	}
	return "source"
}

// deriveName makes a folder name for a source that has none.
func (s *sourceSpec) deriveName() string {
	if s.Kind != kindS3 && s.Azure == nil {
		return s.Kind
	}
	parts := strings.Split(strings.TrimSuffix(s.Prefix, "/"), "/")
	if last := parts[len(parts)-1]; validFolder(last) {
		return last
	}
	if s.Azure != nil {
		return s.Azure.Container
	}
	return s.Bucket
}

// splitURL reads s3://bucket/prefix/. A prefix ends in a slash: "s3://b/study1" would also list study10.
func splitURL(address string) (bucket, prefix string, added bool, err error) {
	rest, ok := strings.CutPrefix(address, "s3://")
	if !ok {
		return "", "", false, fmt.Errorf("%q does not begin with s3://", address)
	}
	bucket, prefix, _ = strings.Cut(rest, "/")
	switch {
	case bucket == "":
		return "", "", false, fmt.Errorf("%q names no bucket", address)
	case !validBucket(bucket):
		return "", "", false, fmt.Errorf("%q cannot be a bucket's name", bucket)
	case strings.HasPrefix(prefix, "/") || strings.Contains(prefix, "//"):
		return "", "", false, fmt.Errorf("%q has an empty folder name between two slashes", address)
	}
	if prefix != "" && !strings.HasSuffix(prefix, "/") {
		return bucket, prefix + "/", true, nil
	}
	return bucket, prefix, false, nil
}

func validBucket(name string) bool {
	return len(name) >= 3 && len(name) <= 255 &&
		!strings.ContainsFunc(name, func(r rune) bool {
			return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-._", r)
		})
}

func checkEndpoint(address string) error {
	if address == "" {
		return nil
	}
	u, err := url.Parse(address)
	f := &failure{What: "--endpoint-url", Do: "it looks like https://s3.example.org", Code: exitUsage}
	switch {
	case err != nil || u.Host == "":
		f.Why = fmt.Sprintf("%q is not an address", address)
	case u.User != nil: // it would be seen in status and in logs
		f.Why = "an address must not hold a password"
	case u.Scheme != "https" && u.Scheme != "http":
		f.Why = fmt.Sprintf("%q begins with neither https:// nor http://", address)
	case u.Scheme == "http" && !backends.Loopback(u.Hostname()):
		f.Why, f.Do = "keys and data would cross the network unencrypted", "use https://"
	default:
		return nil
	}
	return f
}

// looksLikeSource tells "empatica:keys.csv" from a directory's name.
func looksLikeSource(arg string) bool {
	scheme, _, ok := strings.Cut(arg, ":")
	return ok && slices.Contains([]string{kindEmpatica, kindHCP, kindS3, kindBeiwe, kindAzure, kindDir}, scheme)
}
