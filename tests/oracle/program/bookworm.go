//go:build bookworm

package main

// What differs in snapd 2.57, Debian 12's.

import (
	"os"
	"time"

	"github.com/snapcore/snapd/asserts"
	"github.com/snapcore/snapd/gadget"
)

const libraryGeneration = "bookworm"

// checkersAt are the library's own checks with the clock at `now`, which it would else read itself.
func checkersAt(now time.Time) []asserts.Checker {
	checks := append([]asserts.Checker{}, asserts.DefaultCheckers...)
	checks[0] = func(assertion asserts.Assertion, key *asserts.AccountKey, constraints []*asserts.AssertionConstraints,
		db asserts.RODatabase, _, _ time.Time) ([]*asserts.AssertionConstraints, error) {
		return asserts.CheckSigningKeyIsNotExpired(assertion, key, constraints, db, now, now)
	}
	return checks
}

func placements(volume *gadget.Volume) ([]placement, error) {
	laid, err := gadget.LayoutVolumePartially(volume, gadget.DefaultConstraints)
	if err != nil {
		return nil, err
	}
	placed := make([]placement, 0, len(laid.LaidOutStructure))
	for _, item := range laid.LaidOutStructure {
		one := placement{
			Name: item.Name, Index: item.YamlIndex, Start: int64(item.StartOffset), Size: uint64(item.Size),
			MinSize: uint64(item.Size), Role: item.Role, Label: item.Label, Kind: item.Type,
			Content: len(item.Content), Edition: uint32(item.Update.Edition), Table: item.IsPartition(), WriteAt: -1,
			Fixed: true,
		}
		if item.OffsetWrite != nil {
			one.WriteAt, one.WriteRef = int64(item.OffsetWrite.Offset), item.OffsetWrite.RelativeTo
		}
		placed = append(placed, one)
	}
	return placed, nil
}

// nowhere is where every structure of an update is said to be; nothing is written there.
var nowhere = gadget.StructureLocation{Device: os.DevNull, RootMountPoint: os.TempDir()}

// pretendDisks lets an update run without a disk: every structure is found, and writing one only calls `told`.
func pretendDisks(told func(volume, name string, index int)) func() {
	disks := gadget.MockVolumeStructureToLocationMap(func(old gadget.GadgetData, _ gadget.Model,
		_ map[string]*gadget.LaidOutVolume) (map[string]map[int]gadget.StructureLocation, error) {
		found := map[string]map[int]gadget.StructureLocation{}
		for name, volume := range old.Info.Volumes {
			found[name] = map[int]gadget.StructureLocation{}
			for index := range volume.Structure {
				found[name][index] = nowhere
			}
		}
		return found, nil
	})
	writers := gadget.MockUpdaterForStructure(func(_ gadget.StructureLocation, to *gadget.LaidOutStructure, _, _ string,
		_ gadget.ContentUpdateObserver) (gadget.Updater, error) {
		told(to.VolumeName, to.Name, to.YamlIndex)
		return idle{}, nil
	})
	return func() { writers(); disks() }
}
