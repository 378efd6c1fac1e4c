package main

// Packages: what a snap.yaml says. Interfaces are not judged: their rules lie in the system, not in the format.

import (
	"sort"
	"strconv"

	"github.com/snapcore/snapd/snap"
)

func init() {
	snap.SanitizePlugsSlots = func(*snap.Info) {}
}

func itoa(number int) string { return strconv.Itoa(number) }

func sorted(names []string) []string {
	sort.Strings(names)
	return names
}

func judgeSnap(asked *request) (answer, error) {
	info, err := snap.InfoFromSnapYaml(asked.Yaml)
	if err != nil {
		return nil, err
	}
	if err := snap.Validate(info); err != nil {
		return nil, err
	}
	said := answer{
		"name": info.SnapName(), "version": info.Version, "type": string(info.Type()), "base": info.Base,
		"architectures": info.Architectures, "assumes": append([]string{}, info.Assumes...),
		"confinement": string(info.Confinement), "epoch": info.Epoch.String(),
		"title": info.OriginalTitle, "summary": info.OriginalSummary, "description": info.OriginalDescription,
		"license": info.License, "provenance": info.Provenance(),
	}
	apps, hooks, plugs, slots, layouts := []string{}, []string{}, []string{}, []string{}, []string{}
	for name := range info.Apps {
		apps = append(apps, name)
	}
	for name := range info.Hooks {
		hooks = append(hooks, name)
	}
	for name, plug := range info.Plugs {
		plugs = append(plugs, name+"="+plug.Interface)
	}
	for name, slot := range info.Slots {
		slots = append(slots, name+"="+slot.Interface)
	}
	for path := range info.Layout {
		layouts = append(layouts, path)
	}
	said["apps"], said["hooks"], said["layout"] = sorted(apps), sorted(hooks), sorted(layouts)
	said["plugs"], said["slots"] = sorted(plugs), sorted(slots)
	return said, nil
}
