package main

import (
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"

	"studyfs/cache/stage"
)

// lockStages gets the key of staged files for those sources that need it: what is kept of them on this disk is to be encrypted, or it is already.
// A stage that was encrypted once stays so, whatever is asked for now.
func (l *loaded) lockStages(p places, sources []sourceSpec) (notices []string, err error) {
	for i := range sources {
		s := &sources[i]
		if s.Write == nil || s.AtRest == nil && !stage.Encrypted(p.stageOf(s.id())) {
			continue
		}
		if stage.Encrypted(p.stageOf(s.id())) {
			if err := l.unlockStage(p, s); err != nil {
				return nil, err
			}
			continue
		}
		key, notice, err := stageKey(l.env)
		if err != nil {
			return nil, err
		}
		if s.StageKey = key; notice != "" {
			notices = append(notices, notice)
		}
	}
	return notices, nil
}

// unlockStage is lockStages for a stage without a mount: it opens what is encrypted, and does not begin to encrypt what is not.
func (l *loaded) unlockStage(p places, s *sourceSpec) error {
	dir := p.stageOf(s.id())
	if !stage.Encrypted(dir) {
		return nil
	}
	key, err := madeStageKey(l.env, dir)
	s.StageKey = key
	return err
}

// madeStageKey is stageKey for an encrypted stage: it makes no other key where the one that was made is gone.
func madeStageKey(env environment, dir string) ([]byte, error) {
	config, err := env.xdg("XDG_CONFIG_HOME", ".config")
	if err != nil {
		return nil, err
	}
	if _, err := os.Lstat(filepath.Join(config, stageKeyFile)); errors.Is(err, os.ErrNotExist) {
		return nil, wrongStageKey(dir, stage.ErrNoKey)
	}
	key, _, err := stageKey(env)
	return key, err
}

// readable is nil unless a stage is encrypted and there is not its key.
func (l *loaded) readable(id string) error {
	p, err := findPlaces(l.env, l.Cache.Dir, l.State.Dir)
	if err != nil {
		return err
	}
	dir := p.stageOf(id)
	if !stage.Encrypted(dir) {
		return nil
	}
	_, err = l.targetOfStage(p, id)
	if f := wrongStageKey(dir, err); f != nil {
		return f
	}
	return err
}

// targetOfStage is what the header of a stage says of its source. Of one that is encrypted it takes the key.
func (l *loaded) targetOfStage(p places, id string) (string, error) {
	var key []byte
	dir := p.stageOf(id)
	if stage.Encrypted(dir) {
		var err error
		if key, err = madeStageKey(l.env, dir); err != nil {
			return "", err
		}
	}
	return stage.Target(dir, key)
}

// wrongStageKey explains why an encrypted stage is not opened; nil for other errors.
func wrongStageKey(dir string, err error) *failure {
	if !errors.Is(err, stage.ErrKey) && !errors.Is(err, stage.ErrNoKey) {
		return nil
	}
	return &failure{
		What: "cannot open the files that wait for upload in " + dir, Why: lastCause(err),
		Do: "nothing was touched; put the " + stageKeyFile + " back into the directory of the configuration (from a backup, or from the account or machine " +
			"that they were written with). Without that key nobody can read them", Code: exitPermission,
	}
}

// stageSecrets lists what must not be seen of the key.
func (s sourceSpec) stageSecrets() []string {
	if len(s.StageKey) == 0 {
		return nil
	}
	return []string{string(s.StageKey), base64.StdEncoding.EncodeToString(s.StageKey)}
}
