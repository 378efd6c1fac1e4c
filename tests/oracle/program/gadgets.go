package main

// Gadgets: may a gadget.yaml stand, where do its structures lie, and may one gadget follow another in place.

import (
	"os"
	"path/filepath"
	"sort"

	"github.com/snapcore/snapd/asserts"
	"github.com/snapcore/snapd/gadget"
	"github.com/snapcore/snapd/kernel"
)

// ruleSet stands for the model that a gadget is read for.
type ruleSet struct {
	classic bool
	grade   asserts.ModelGrade
}

func (r ruleSet) Classic() bool             { return r.classic }
func (r ruleSet) Grade() asserts.ModelGrade { return r.grade }

var ruleSets = map[string]gadget.Model{
	"none":          nil,
	"uc16":          ruleSet{grade: asserts.ModelGradeUnset},
	"uc20":          ruleSet{grade: asserts.ModelSigned},
	"classic-modes": ruleSet{classic: true, grade: asserts.ModelSigned},
}

func readGadget(raw []byte, rules string) (*gadget.Info, gadget.Model, error) {
	model, known := ruleSets[rules]
	if !known {
		return nil, nil, misuse("no such rules: " + rules)
	}
	info, err := gadget.InfoFromGadgetYaml(raw, model)
	if err != nil {
		return nil, nil, err
	}
	return info, model, gadget.Validate(info, model, nil)
}

func judgeGadget(asked *request) (answer, error) {
	info, _, err := readGadget(asked.Yaml, asked.Rules)
	if err != nil {
		return answer{"read": false}, err
	}
	volumes := answer{}
	for name, volume := range info.Volumes {
		said := answer{"schema": volume.Schema, "bootloader": volume.Bootloader, "id": volume.ID}
		if asked.Layout {
			placed, err := placements(volume)
			if err != nil {
				return answer{"read": true}, err
			}
			said["structures"] = placed
		}
		volumes[name] = said
	}
	connections := make([][]string, 0, len(info.Connections))
	for _, wire := range info.Connections {
		connections = append(connections, []string{
			wire.Plug.SnapID + ":" + wire.Plug.Plug, wire.Slot.SnapID + ":" + wire.Slot.Slot})
	}
	return answer{"volumes": volumes, "connections": connections, "defaults": len(info.Defaults)}, nil
}

// placement is one structure as the library lays it out, in its order. Without `Fixed` its start depends on the device.
type placement struct {
	Name     string `json:"name"`
	Index    int    `json:"index"`
	Start    int64  `json:"start"`
	Fixed    bool   `json:"fixed"`
	Size     uint64 `json:"size"`
	MinSize  uint64 `json:"min-size"`
	Role     string `json:"role"`
	Label    string `json:"label"`
	Kind     string `json:"type"`
	Content  int    `json:"content"`
	Edition  uint32 `json:"edition"`
	Table    bool   `json:"in-table"`
	WriteAt  int64  `json:"offset-write"`
	WriteRef string `json:"offset-write-in"`
}

// populate makes files of the given sizes, sparse, and the metadata beside them.
func populate(files map[string]int64, metadata string, content []byte) (string, error) {
	folder, err := os.MkdirTemp("", "snapd-oracle-")
	if err != nil {
		return "", err
	}
	for path, size := range files {
		full := filepath.Join(folder, path)
		if len(path) > 0 && path[len(path)-1] == '/' {
			if err := os.MkdirAll(full, 0o755); err != nil {
				return folder, err
			}
			continue
		}
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			return folder, err
		}
		if err := os.WriteFile(full, nil, 0o644); err != nil {
			return folder, err
		}
		if err := os.Truncate(full, size); err != nil {
			return folder, err
		}
	}
	if content == nil {
		return folder, nil
	}
	if err := os.MkdirAll(filepath.Join(folder, "meta"), 0o755); err != nil {
		return folder, err
	}
	return folder, os.WriteFile(filepath.Join(folder, "meta", metadata), content, 0o644)
}

func judgeGadgetContent(asked *request) (answer, error) {
	info, _, err := readGadget(asked.Yaml, asked.Rules)
	if err != nil {
		return answer{"read": false}, err
	}
	own, err := populate(asked.Files, "gadget.yaml", asked.Yaml)
	defer os.RemoveAll(own)
	if err != nil {
		return nil, misuse(err.Error())
	}
	theirs := ""
	if asked.Kernel != nil || asked.KernelFiles != nil {
		theirs, err = populate(asked.KernelFiles, "kernel.yaml", asked.Kernel)
		defer os.RemoveAll(theirs)
		if err != nil {
			return nil, misuse(err.Error())
		}
	}
	return answer{"read": true}, gadget.ValidateContent(info, own, theirs)
}

// idle stands in for what would write a structure.
type idle struct{}

func (idle) Backup() error   { return nil }
func (idle) Update() error   { return nil }
func (idle) Rollback() error { return nil }

// rawFiles are the images that a gadget names, each with one byte.
func rawFiles(info *gadget.Info) map[string]int64 {
	files := map[string]int64{}
	for _, volume := range info.Volumes {
		for _, structure := range volume.Structure {
			for _, content := range structure.Content {
				if content.Image != "" {
					files[content.Image] = 1
				}
			}
		}
	}
	return files
}

func judgeGadgetUpdate(asked *request) (answer, error) {
	old, model, err := readGadget(asked.Old, asked.Rules)
	if err != nil {
		return answer{"read": false}, err
	}
	fresh, _, err := readGadget(asked.New, asked.Rules)
	if err != nil {
		return answer{"read": false}, err
	}
	if model == nil {
		model = ruleSets["uc16"]
	}
	var folders [3]string
	for index, info := range []*gadget.Info{old, fresh} {
		folders[index], err = populate(rawFiles(info), "gadget.yaml", nil)
		defer os.RemoveAll(folders[index])
		if err != nil {
			return nil, misuse(err.Error())
		}
	}
	folders[2], err = populate(nil, "kernel.yaml", asked.Kernel)
	defer os.RemoveAll(folders[2])
	if err != nil {
		return nil, misuse(err.Error())
	}
	rewritten := []string{}
	restore := pretendDisks(func(volume, name string, index int) {
		if name == "" {
			name = "#" + itoa(index)
		}
		rewritten = append(rewritten, volume+"/"+name)
	})
	defer restore()
	err = gadget.Update(model,
		gadget.GadgetData{Info: old, RootDir: folders[0], KernelRootDir: folders[2]},
		gadget.GadgetData{Info: fresh, RootDir: folders[1], KernelRootDir: folders[2]},
		"", nil, nil)
	if err == gadget.ErrNoUpdate {
		err = nil
	}
	if err == nil {
		err = gadget.IsCompatible(old, fresh)
	}
	sort.Strings(rewritten)
	return answer{"read": true, "rewritten": rewritten}, err
}

func judgeKernel(asked *request) (answer, error) {
	info, err := kernel.InfoFromKernelYaml(asked.Yaml)
	if err != nil {
		return nil, err
	}
	assets := answer{}
	for name, asset := range info.Assets {
		if asset == nil {
			assets[name] = nil
			continue
		}
		assets[name] = answer{"update": asset.Update, "content": append([]string{}, asset.Content...)}
	}
	return answer{"assets": assets}, nil
}
