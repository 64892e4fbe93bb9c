package main

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"studyfs/cmd/studyfs/tomlfile"
)

// config is everything that can be set. A field with a toml tag is a key of the configuration file, a flag and a
// STUDYFS_* variable all at once, see settings.go.
type config struct {
	Cache struct {
		Dir  string   `toml:"dir" values:"DIR" help:"keep fetched data below this directory (default: the XDG cache directory)"`
		Size byteSize `toml:"size" help:"how much fetched data to keep on disk, all sources together"`
	} `toml:"cache"`
	State struct {
		Dir string `toml:"dir" values:"DIR" help:"keep logs and what must survive below this directory (default: the XDG state directory)"`
	} `toml:"state"`
	Log struct {
		Level logLevel `toml:"level" values:"debug,info,warn,error" help:"debug, info, warn or error (default info)"`
	} `toml:"log"`
	Timeout struct {
		Dial     duration `toml:"dial" flag:"hidden" help:"for a connection"`
		Answer   duration `toml:"answer" flag:"hidden" help:"for the first byte of an answer"`
		Progress duration `toml:"progress" flag:"hidden" help:"for the next byte of an answer"`
		Retry    duration `toml:"retry" flag:"hidden" help:"for one request with all its retries"`
	} `toml:"timeout"`
	Audit struct {
		KeepDays int `toml:"keep-days" flag:"hidden" help:"how many days the audit log is kept (default 400)"`
	} `toml:"audit"`
	Restore struct {
		Prices nameList `toml:"prices" flag:"hidden" help:"what restores cost where it is not the price of us-east-1, as restore --price has it"`
	} `toml:"restore"`
	Deid struct {
		Secret string `toml:"secret" flag:"no" help:"what deid makes codes of: file:PATH, keyring:NAME or cmd:COMMAND (default: deid.secret beside this file)"`
	} `toml:"deid"`
	Memory        byteSize `toml:"memory" help:"the most memory for data on its way, all sources together"`
	ReadAhead     int      `toml:"read-ahead-files" help:"how many small files to fetch ahead of somebody who reads a folder in order; 0: none, nor folders of who goes through a tree"`
	ReadOnly      bool     `toml:"read-only" help:"never write to a source"`
	AllowOther    bool     `toml:"allow-other" help:"let other users of this machine read the mount"`
	NoPassthrough bool     `toml:"no-passthrough" help:"do not hand complete files to the kernel"`
	NoOpen        bool     `toml:"no-open" help:"let the kernel open files without asking: small files that were read before are as fast as on a local disk; for data that does not change, read-only and without audit"`
	NoIndex       bool     `toml:"no-index" help:"keep desktop indexers and makers of small pictures from reading the mount"`
	NoExec        bool     `toml:"no-exec" flag:"hidden" help:"run no programs that lie in the mount (noexec of fstab)"`

	HTTP pageAddress `toml:"http" help:"show the mount in a browser of this machine: 127.0.0.1:0 is any free port (default: off); studyfs status tells the page's address"`

	Source map[string]sourceConfig `toml:"source"`
}

// sourceConfig is one [source.NAME] of the configuration; its flags apply to every source of the command.
type sourceConfig struct {
	Kind          string `toml:"kind" flag:"no" values:"s3,empatica,hcp,beiwe,azure,dir,ecog" help:"s3, empatica, hcp, beiwe, azure, dir or ecog"`
	URL           string `toml:"url" flag:"no" help:"s3://bucket/prefix/, azure://account/container/prefix/ or dir:PATH"`
	Keys          string `toml:"keys" flag:"no" help:"where the keys are: file:KEYS.csv, aws-profile:NAME or cmd:COMMAND that prints such a file; of azure: a file or command with an account key, a SAS or an access token; of beiwe: a keyring in clear"`
	EndpointURL   string `toml:"endpoint-url" help:"address of an S3 service other than Amazon's, or of an Azure account's blob service"`
	Region        string `toml:"region" help:"region of the bucket (found by asking if not given)"`
	Profile       string `toml:"profile" help:"take the keys from this profile of the AWS configuration"`
	Anonymous     bool   `toml:"anonymous" help:"sign nothing: for public data"`
	RequesterPays bool   `toml:"requester-pays" help:"agree to pay for the transfer"`
	InsecureKeys  bool   `toml:"insecure-keys-file" help:"accept a keys file that others can read or that lies in a git repository"`

	MaxRequests int      `toml:"max-requests" help:"the most requests at once to this source, listings and uploads among them (default: 64, 32 of them for data)"`
	Bandwidth   byteSize `toml:"bandwidth" help:"the most bytes of data to fetch from this source per second (default: no limit)"`

	Write           bool       `toml:"write" help:"let files be copied in; they are kept safe on this disk, then uploaded (kinds s3, dir, ecog)"`
	Delete          bool       `toml:"delete" help:"with --write: let stored files be deleted and renamed, too"`
	Durability      durability `toml:"durability" values:"local,remote,relaxed" help:"when closing a file returns: local (it is safe on this disk; default), remote (it is stored), relaxed (at once; only fsync waits)"`
	StorageClass    string     `toml:"storage-class" help:"storage class of what is uploaded, such as STANDARD_IA (default: the bucket's)"`
	BIDS            bidsRules  `toml:"bids" values:"off,bidsish,strict" help:"check names against BIDS: off, bidsish (warn; default) or strict (do not upload what breaks the rules)"`
	Junk            junkRule   `toml:"junk" values:"keep-local,upload" help:"what desktops leave in folders (.DS_Store, ._NAME, Thumbs.db, ...): keep-local (for a day on this machine; default) or upload"`
	Owner           accountID  `toml:"owner" help:"account id of 12 digits: upload only into a bucket that belongs to it"`
	UnsafeOverwrite bool       `toml:"unsafe-overwrite" help:"write even to a service that cannot keep two writers from overwriting each other"`
	UploadParallel  int        `toml:"upload-parallel" help:"how many files to upload at once (default 8)"`
	UploadBandwidth byteSize   `toml:"upload-bandwidth" help:"the most bytes to upload per second (default: no limit)"`
	StageSize       byteSize   `toml:"stage-size" help:"how much may wait for its upload on this disk (default: what the disk has room for)"`
	Quiet           duration   `toml:"quiet" flag:"hidden" help:"how long a file must be left alone before it is uploaded (default 5s)"`

	Gate        gatePolicy `toml:"gate" values:"off,refuse,park,scrub,warn" help:"with --write: judge names and contents before they leave this machine: off (default; of ecog: refuse), refuse, park, scrub or warn"`
	Words       string     `toml:"words" help:"for --gate: names that must not leave, file:LIST as studyfs deid words makes it"`
	WordsSecret string     `toml:"words-secret" flag:"hidden" help:"the secret that the list was made with: file:FILE, cmd:COMMAND or keyring:NAME"`
	ShiftSecret string     `toml:"date-shift-secret" flag:"hidden" help:"for --gate scrub: shift the dates of recordings by this secret: file:FILE, cmd:COMMAND or keyring:NAME (without: 1985)"`
	KeepDates   bool       `toml:"keep-dates" flag:"hidden" help:"for --gate: recordings may tell their day"`
	Labels      nameList   `toml:"labels" flag:"hidden" help:"for --gate: words that names may hold behind the code, such as rest,task"`
	Extensions  nameList   `toml:"extensions" flag:"hidden" help:"for --gate: the extensions that names may have, such as .edf,.csv"`
	Equipment   nameList   `toml:"equipment" flag:"hidden" help:"for --gate: makes of recorders that recordings may name"`

	EncryptCache *bool  `toml:"encrypt-cache" help:"encrypt what is kept of this source on this disk (default: for empatica, beiwe and ecog)"`
	CacheKey     string `toml:"cache-key" help:"where the key for that is: ephemeral (in the kernel, gone with the next boot; default), file:PATH, keyring:NAME, cmd:COMMAND or passphrase"`

	EncryptTo nameList `toml:"encrypt-to" help:"encrypt what is uploaded with age for these public keys (age1...) or files of them, separated by commas (kinds s3, dir, ecog)"`
	Identity  string   `toml:"identity" help:"open .age files with these private keys: file:KEYS as age-keygen writes it, or cmd:COMMAND that prints that"`
	Password  string   `toml:"password" help:"open .enc files (openssl enc -des) and .lock files with the password in file:FILE, of cmd:COMMAND, or asked for: prompt"`

	Audit auditMode `toml:"audit" values:"off,on,strict" help:"note who opens, uploads and deletes which file: off, on, or strict (nothing is opened that cannot be noted);\ndefault: on for people's data and with --write (studyfs audit shows it)"`

	Keyring string   `toml:"keyring" help:"mano's keyring file for beiwe: (default ~/.nrg-keyring.enc; its passphrase from NRG_KEYRING_PASS or asked for)"`
	Section string   `toml:"section" flag:"no" help:"section of the keyring"`
	Streams nameList `toml:"streams" help:"show only these streams of beiwe:, such as gps,calls"`
	Since   string   `toml:"since" help:"show only data of this day (2026-10-31) and later, of beiwe:"`
	Until   string   `toml:"until" help:"show only data up to this day"`
	Lock    nameList `toml:"lock" help:"streams whose contents never lie in clear on this disk, such as gps,audio_recordings"`
	Refresh duration `toml:"refresh" help:"how often beiwe: asks for changes (default 8m)"`

	View     viewName `toml:"view" values:"off,by-participant,pyafq" help:"show the files once more under other names: by-participant (of empatica: by-participant/PARTICIPANT/DAY/), pyafq (of hcp: pyafq/derivatives/dmriprep/sub-ID/) or off (default)"`
	TimeZone zoneName `toml:"time-zone" help:"time zone of the study, such as Europe/Berlin: view by-participant shows its days, too (by-participant-local/)"`

	Video   *targetConfig `toml:"video"` // of kind ecog, as the three below
	EDF     *targetConfig `toml:"edf"`
	Archive *targetConfig `toml:"archive"`
	NAS     *targetConfig `toml:"nas"`

	inHand *keysInHand // instead of Keys: keys that lie nowhere yet
}

func (c sourceConfig) hasKeys() bool { return c.Keys != "" || c.inHand != nil }

// keysInHand are keys that somebody has just given, in the form of a file of them.
type keysInHand struct {
	text []byte
	from string // where they came from, for messages
}

// logLevel is a slog.Level with a name that the help can show.
type logLevel slog.Level

func (l logLevel) String() string { return strings.ToLower(slog.Level(l).String()) }

// UnmarshalText reads a level's name.
func (l *logLevel) UnmarshalText(text []byte) error {
	var level slog.Level
	if err := level.UnmarshalText(text); err != nil {
		return fmt.Errorf("%q is not a level; write debug, info, warn or error", text)
	}
	*l = logLevel(level)
	return nil
}

// newConfig holds all defaults.
func newConfig() *config {
	c := &config{Memory: 256 << 20, ReadAhead: 32, Source: map[string]sourceConfig{}}
	c.Cache.Size = 10 << 30
	c.Log.Level = logLevel(slog.LevelInfo)
	return c
}

// given is what the command line said, by flag name; and which file to read.
type given struct {
	flags map[string]string
	file  string
}

// register makes flags of the settings of template, in this flag set, to be kept in g.
func (g *given) register(flags *pflag.FlagSet, template any) {
	for _, s := range settingsOf(template) {
		if s.noFlag {
			continue
		}
		f := flags.VarPF(&flagValue{setting: s, given: g}, s.flag(), "", s.help)
		f.Hidden = s.hidden
		f.Annotations = map[string][]string{valuesOf: s.values}
		if s.place {
			f.Annotations[cobra.BashCompSubdirsInDir] = []string{}
		}
		if s.kind() == "bool" {
			f.NoOptDefVal = "true"
		}
	}
}

// flagValue notes what a flag was given as, after a look at whether it can be that.
type flagValue struct {
	setting setting
	given   *given
}

func (f *flagValue) String() string {
	if f.setting.value.IsZero() {
		return ""
	}
	return f.setting.String()
}
func (f *flagValue) Type() string { return f.setting.kind() }

// Set is called for each time that the flag is given.
func (f *flagValue) Set(text string) error {
	if err := f.setting.set(text); err != nil {
		return err
	}
	if f.given.flags == nil {
		f.given.flags = map[string]string{}
	}
	f.given.flags[f.setting.flag()] = text
	return nil
}

// loaded is the configuration after file, environment and flags.
type loaded struct {
	config
	path    string            // of the file, whether or not there is one
	origins map[string]string // setting's path → where its value came from; absent: the default
	env     environment
	given   *given
}

// load puts the configuration together: file, then STUDYFS_*, then flags.
func load(env environment, g *given) (*loaded, error) {
	l := &loaded{config: *newConfig(), origins: map[string]string{}, env: env, given: g}
	if err := l.readFile(); err != nil {
		return nil, err
	}
	if err := l.overlay("", &l.config); err != nil {
		return nil, err
	}
	return l, nil
}

// source returns a source of the configuration, or an empty one for name "", with environment and flags over it.
func (l *loaded) source(name string) (sourceConfig, error) {
	c := l.Source[name]
	err := l.overlay("source."+name+".", &c)
	return c, err
}

func (l *loaded) overlay(prefix string, pointer any) error {
	for _, s := range settingsOf(pointer) {
		if s.noFlag {
			continue
		}
		if text := l.env.get(s.variable()); text != "" {
			if err := s.set(text); err != nil {
				return &failure{What: s.variable(), Why: err.Error(), Code: exitConfig}
			}
			l.origins[prefix+s.path] = s.variable()
		}
		if text, ok := l.given.flags[s.flag()]; ok {
			if err := s.set(text); err != nil {
				return usagef("--%s: %v", s.flag(), err)
			}
			l.origins[prefix+s.path] = "--" + s.flag()
		}
	}
	return nil
}

func (l *loaded) readFile() error {
	path, explicit, err := configPath(l.env, l.given)
	if err != nil {
		return err
	}
	l.path = path
	text, err := readConfig(path, explicit)
	if err != nil || text == nil {
		return err
	}
	if err := decode(text, &l.config); err != nil {
		return &failure{What: l.path, Why: err.Error(), Do: "studyfs config check lists all mistakes", Code: exitConfig}
	}
	for key, line := range tomlfile.Lines(text) {
		l.origins[key] = fmt.Sprintf("%s:%d", l.path, line)
	}
	return nil
}

// decode reads a configuration strictly: a key that we do not know is an error that tells where it stands and what was
// probably meant.
func decode(text []byte, c *config) error {
	err := toml.NewDecoder(bytes.NewReader(text)).DisallowUnknownFields().Decode(c)
	var unknown *toml.StrictMissingError
	var wrong *toml.DecodeError
	switch {
	case errors.As(err, &unknown) && len(unknown.Errors) > 0:
		first := unknown.Errors[0]
		line, column := first.Position()
		return fmt.Errorf("line %d, column %d: unknown key %q%s", line, column, strings.Join(first.Key(), "."), meant(first.Key()))
	case errors.As(err, &wrong):
		line, column := wrong.Position()
		return fmt.Errorf("line %d, column %d: %s", line, column, strings.TrimPrefix(wrong.Error(), "toml: "))
	case err != nil:
		return err
	}
	if err := c.readTexts(); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(c.Source)) {
		if err := c.Source[name].validate(name); err != nil {
			return fmt.Errorf("[source.%s]: %w", name, err)
		}
	}
	return nil
}

// readTexts reads the settings that are words of their own type: TOML's decoder takes any text for a type that is a string. A gate that was
// misspelled passed "config check", and the serving process ended without a word.
func (c *config) readTexts() error {
	if err := readTexts(c); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(c.Source)) {
		one := c.Source[name]
		if err := readTexts(&one); err != nil {
			return fmt.Errorf("[source.%s]: %w", name, err)
		}
		c.Source[name] = one
	}
	return nil
}

func readTexts(pointer any) error {
	for _, s := range settingsOf(pointer) {
		if s.value.Kind() != reflect.String || s.value.Len() == 0 {
			continue
		}
		if err := s.set(s.value.String()); err != nil {
			return fmt.Errorf("%s: %w", s.path, err)
		}
	}
	return nil
}

// meant suggests the nearest key that exists.
func meant(key []string) string {
	var candidates []string
	prefix := ""
	if len(key) > 2 && key[0] == "source" {
		prefix = key[0] + "." + key[1] + "."
		key = key[2:]
		for _, s := range settingsOf(&sourceConfig{Video: &targetConfig{}, EDF: &targetConfig{}, Archive: &targetConfig{}, NAS: &targetConfig{}}) {
			candidates = append(candidates, s.path)
		}
	} else {
		for _, s := range settingsOf(newConfig()) {
			candidates = append(candidates, s.path)
			if table, _, ok := strings.Cut(s.path, "."); ok && !slices.Contains(candidates, table) {
				candidates = append(candidates, table)
			}
		}
		candidates = append(candidates, "source")
	}
	if near := nearest(strings.Join(key, "."), candidates); near != "" {
		return fmt.Sprintf("; did you mean %q?", prefix+near)
	}
	return ""
}

func (c sourceConfig) validate(name string) error {
	kinds := []string{kindS3, kindEmpatica, kindHCP, kindBeiwe, kindAzure, kindDir, kindEcog}
	sample := map[string]string{kindS3: "s3://bucket/prefix/", kindAzure: "azure://account/container/prefix/", kindDir: "dir:/mnt/nas/study"}[c.Kind]
	switch {
	case !validFolder(name):
		return errors.New("the name becomes a folder: no \"/\", no \":\", no leading dot")
	case c.Kind == "":
		return fmt.Errorf("kind is missing; one of %s", strings.Join(kinds, ", "))
	case !slices.Contains(kinds, c.Kind):
		return fmt.Errorf("kind %q is not one of %s", c.Kind, strings.Join(kinds, ", "))
	case sample != "" && c.URL == "":
		return fmt.Errorf("url is missing; such as %q", sample)
	case c.Kind == kindEmpatica && c.Keys == "":
		return errors.New("keys is missing; such as \"file:KEYS.csv\"")
	case c.Write && !takesFiles(c.Kind):
		return fmt.Errorf("write: nothing can be written to a source of kind %s; only s3, dir and ecog take files", c.Kind)
	}
	if err := c.checkView(); err != nil {
		return err
	}
	return c.validateTargets()
}

func validFolder(name string) bool {
	return name != "" && len(name) < 200 && !strings.ContainsAny(name, "/:\x00") && name[0] != '.'
}
