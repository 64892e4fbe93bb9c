package view

import (
	"context"
	"errors"
	"maps"
	"slices"

	"studyfs/backends"
)

// lookup finds a name. What it costs is bounded by what listing its directory would.
func (e empatica) lookup(ctx context.Context, a *asked, name string) (Item, error) {
	s, ok := e.at(name)
	it := Item{Name: name}
	if !ok {
		return it, backends.ErrNotExist
	}
	switch s.depth {
	case 0:
		return it, nil
	case 1:
		return it, e.seen(ctx, a, s.who)
	}
	if s.depth > 3 {
		return e.below(ctx, a, s, it)
	}
	found, err := e.devices(ctx, a, s)
	if err == nil && (len(found) == 0 || s.depth == 3 && !found[s.device]) {
		err = backends.ErrNotExist
	}
	return it, err
}

// below finds what lies in the folder of a device.
func (e empatica) below(ctx context.Context, a *asked, s spot, it Item) (Item, error) {
	file, missing := backends.Entry{}, true
	_, base := backends.Split(it.Name)
	for _, utc := range e.utcDays(s) {
		found, err := e.find(ctx, a, s, utc)
		switch {
		case errors.Is(err, backends.ErrNotExist):
		case err != nil:
			return it, err
		case found.Dir:
			return it, nil
		case !s.local || e.belongs(base, utc, s.day):
			file, missing = found, false
		}
	}
	if missing {
		return it, backends.ErrNotExist
	}
	it.Of = file
	return it, nil
}

// find finds what a name stands for in a day (UTC). By UTC's days somebody has looked up the directories above it before.
func (e empatica) find(ctx context.Context, a *asked, s spot, utc string) (backends.Entry, error) {
	if !s.local {
		return a.lookup(ctx, s.key(utc))
	}
	return a.find(ctx, s.who.data(), s.below(utc))
}

// list lists a directory.
func (e empatica) list(ctx context.Context, a *asked, dir string) ([]Item, error) {
	s, ok := e.at(dir)
	if !ok {
		return nil, nil
	}
	var names map[string]bool
	var err error
	switch s.depth {
	case 0:
		names, err = e.people(ctx, a)
	case 1:
		names, err = e.days(ctx, a, s)
	case 2:
		names, err = e.devices(ctx, a, s)
	default:
		return e.contents(ctx, a, s, dir)
	}
	if err != nil {
		return nil, err
	}
	items := make([]Item, 0, len(names))
	for _, n := range slices.Sorted(maps.Keys(names)) {
		items = append(items, Item{Name: backends.Join(dir, n)})
	}
	return items, nil
}

// contents lists what a device's folder has, of one day or of those that a local day has parts of.
func (e empatica) contents(ctx context.Context, a *asked, s spot, dir string) ([]Item, error) {
	all := map[string]Item{}
	for _, utc := range e.utcDays(s) {
		entries, err := e.inFolder(ctx, a, s, utc)
		if err != nil {
			return nil, err
		}
		for _, found := range entries {
			_, base := backends.Split(found.Name)
			it := Item{Name: backends.Join(dir, base)}
			if !found.Dir {
				if was, taken := all[base]; s.local && !e.belongs(base, utc, s.day) || taken && was.Dir() {
					continue
				}
				it.Of = found
			}
			all[base] = it
		}
	}
	items := make([]Item, 0, len(all))
	for _, base := range slices.Sorted(maps.Keys(all)) {
		items = append(items, all[base])
	}
	return items, nil
}

// inFolder are the children of a directory that may not exist in that day (UTC).
func (e empatica) inFolder(ctx context.Context, a *asked, s spot, utc string) ([]backends.Entry, error) {
	if s.local {
		if _, err := e.find(ctx, a, s, utc); errors.Is(err, backends.ErrNotExist) {
			return nil, nil
		} else if err != nil {
			return nil, err
		}
	}
	return a.list(ctx, s.key(utc))
}

// dataDays are the days (UTC) that a site has data of, in order.
func (e empatica) dataDays(ctx context.Context, a *asked, data string) ([]string, error) {
	entries, err := a.list(ctx, data)
	var days []string
	for _, found := range entries {
		if _, day := backends.Split(found.Name); found.Dir && isDay(day) {
			days = append(days, day)
		}
	}
	return days, err
}

// people are the folders of all participants. For that all days of all sites are listed.
func (e empatica) people(ctx context.Context, a *asked) (map[string]bool, error) {
	sites, err := e.sites(ctx, a)
	if err != nil {
		return nil, err
	}
	all := map[string]bool{}
	for _, site := range sites {
		days, err := e.dataDays(ctx, a, site.data())
		if err != nil {
			return nil, err
		}
		wearings, err := a.lists(ctx, below(site.data(), days))
		if err != nil {
			return nil, err
		}
		for _, found := range slices.Concat(wearings...) {
			_, folder := backends.Split(found.Name)
			if id, _, ok := wearing(folder); ok && found.Dir {
				all[person{site.a, site.b, id}.folder()] = true
			}
		}
	}
	return all, nil
}

// sites are those of the organisation, as people without a name.
func (e empatica) sites(ctx context.Context, a *asked) ([]person, error) {
	studies, err := numbered(ctx, a, "")
	if err != nil {
		return nil, err
	}
	var all []person
	for _, study := range studies {
		sites, err := numbered(ctx, a, study)
		if err != nil {
			return nil, err
		}
		for _, site := range sites {
			all = append(all, person{a: study, b: site})
		}
	}
	return all, nil
}

// numbered are the directories in dir whose names are numbers.
func numbered(ctx context.Context, a *asked, dir string) ([]string, error) {
	entries, err := a.list(ctx, dir)
	var all []string
	for _, found := range entries {
		if _, base := backends.Split(found.Name); found.Dir && number(base) {
			all = append(all, base)
		}
	}
	return all, err
}

// days are the days of the view that a participant has data of.
func (e empatica) days(ctx context.Context, a *asked, s spot) (map[string]bool, error) {
	data, err := e.dataDays(ctx, a, s.who.data())
	if err != nil {
		return nil, err
	}
	wearings, err := a.lists(ctx, below(s.who.data(), data))
	if err != nil {
		return nil, err
	}
	all := map[string]bool{}
	for i, utc := range data {
		if len(worn(wearings[i], s.who.id)) == 0 {
			continue
		}
		days := []string{utc}
		if s.local {
			days = e.localDays(utc)
		}
		for _, day := range days {
			all[day] = true
		}
	}
	return all, nil
}

// devices are those that a participant wore on a day of the view.
func (e empatica) devices(ctx context.Context, a *asked, s spot) (map[string]bool, error) {
	data, err := e.dataDays(ctx, a, s.who.data())
	if err != nil {
		return nil, err
	}
	all := map[string]bool{}
	for _, utc := range e.utcDays(s) {
		if !slices.Contains(data, utc) {
			continue
		}
		entries, err := a.list(ctx, s.who.data()+"/"+utc)
		if err != nil {
			return nil, err
		}
		for _, device := range worn(entries, s.who.id) {
			all[device] = true
		}
	}
	return all, nil
}

// seen tells by its error whether there is anything of a participant. It begins with the newest days: most are still in the study.
func (e empatica) seen(ctx context.Context, a *asked, who person) error {
	days, err := e.dataDays(ctx, a, who.data())
	if err != nil {
		return err
	}
	for n := 1; len(days) > 0; n = atOnce {
		from := max(len(days)-n, 0)
		wearings, err := a.lists(ctx, below(who.data(), days[from:]))
		if err != nil {
			return err
		}
		if len(worn(slices.Concat(wearings...), who.id)) > 0 {
			return nil
		}
		days = days[:from]
	}
	return backends.ErrNotExist
}

// worn are the devices of a participant among the folders of a day.
func worn(entries []backends.Entry, id string) (devices []string) {
	for _, found := range entries {
		_, folder := backends.Split(found.Name)
		if who, device, ok := wearing(folder); ok && found.Dir && who == id {
			devices = append(devices, device)
		}
	}
	return devices
}

// below puts names below a directory.
func below(dir string, names []string) []string {
	all := make([]string, len(names))
	for i, n := range names {
		all[i] = dir + "/" + n
	}
	return all
}
