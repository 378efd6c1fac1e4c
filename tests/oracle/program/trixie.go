//go:build trixie

package main

// What differs in snapd 2.68, Debian 13's.

import (
	"os"
	"time"

	"github.com/snapcore/snapd/asserts"
	"github.com/snapcore/snapd/gadget"
)

const libraryGeneration = "trixie"

// checkersAt are the library's own checks with the clock at `now`, which it would else read itself.
func checkersAt(now time.Time) []asserts.Checker {
	checks := append([]asserts.Checker{}, asserts.DefaultCheckers...)
	checks[0] = func(assertion asserts.Assertion, key *asserts.AccountKey, db asserts.RODatabase, _, _ time.Time) error {
		return asserts.CheckSigningKeyIsNotExpired(assertion, key, db, now, now)
	}
	return checks
}

func placements(volume *gadget.Volume) ([]placement, error) {
	if len(volume.Structure) == 0 {
		return []placement{}, nil
	}
	onDisk := gadget.OnDiskStructsFromGadget(volume)
	laid, err := gadget.LayoutVolume(volume, onDisk, &gadget.LayoutOptions{IgnoreContent: true})
	if err != nil {
		return nil, err
	}
	placed := make([]placement, 0, len(laid.LaidOutStructure))
	for _, item := range laid.LaidOutStructure {
		declared := item.VolumeStructure
		one := placement{
			Name: declared.Name, Index: declared.YamlIndex, Start: int64(item.StartOffset), Size: uint64(declared.Size),
			MinSize: uint64(declared.MinSize), Role: declared.Role, Label: declared.Label, Kind: declared.Type,
			Content: len(declared.Content), Edition: uint32(declared.Update.Edition), Table: declared.IsPartition(),
			Fixed: declared.Offset != nil, WriteAt: -1,
		}
		if declared.OffsetWrite != nil {
			one.WriteAt, one.WriteRef = int64(declared.OffsetWrite.Offset), declared.OffsetWrite.RelativeTo
		}
		placed = append(placed, one)
	}
	return placed, nil
}

// nowhere is where every structure of an update is said to be; nothing is written there.
var nowhere = gadget.StructureLocation{Device: os.DevNull, RootMountPoint: os.TempDir()}

// pretendDisks lets an update run without a disk: every structure is found, and writing one only calls `told`.
func pretendDisks(told func(volume, name string, index int)) func() {
	disks := gadget.MockVolumeStructureToLocationMap(func(_ gadget.Model, _, fresh map[string]*gadget.Volume) (
		map[string]map[int]gadget.StructureLocation, map[string]map[int]*gadget.OnDiskStructure, error) {
		found := map[string]map[int]gadget.StructureLocation{}
		onDisk := map[string]map[int]*gadget.OnDiskStructure{}
		for name, volume := range fresh {
			found[name], onDisk[name] = map[int]gadget.StructureLocation{}, gadget.OnDiskStructsFromGadget(volume)
			for _, structure := range volume.Structure {
				found[name][structure.YamlIndex] = nowhere
			}
		}
		return found, onDisk, nil
	})
	writers := gadget.MockUpdaterForStructure(func(_ gadget.StructureLocation, _, to *gadget.LaidOutStructure, _, _ string,
		_ gadget.ContentUpdateObserver) (gadget.Updater, error) {
		told(to.VolumeStructure.VolumeName, to.VolumeStructure.Name, to.VolumeStructure.YamlIndex)
		return idle{}, nil
	})
	return func() { writers(); disks() }
}
