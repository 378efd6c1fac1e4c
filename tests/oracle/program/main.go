// Command snapd-oracle answers, in JSON lines, how snapd's own library judges a document.
//
// It is a test program: it links snapd's library, which is under the GNU GPL version 3, so that the program built from
// this folder is under the GPL-3 as well. It is built for tests alone, is no part of imagekit, and nothing of imagekit
// imports it or is imported by it: they speak over a pipe.
//
// One request a line on standard input, one answer a line on standard output, in the same order:
//
//	{"op": "decode", "text": BASE64, "stream": BOOL}           assertions, one or a stream
//	{"op": "verify", "trusted": [BASE64], "others": [BASE64], "assertion": BASE64, "time": RFC3339}
//	{"op": "encode", "headers": {...}, "body": BASE64, "key": PEM}     the bytes to sign, in canonical form
//	{"op": "gadget", "yaml": BASE64, "rules": RULES, "layout": BOOL}   RULES: none, uc16, uc20, classic-modes
//	{"op": "gadget-content", "yaml": BASE64, "rules": RULES, "kernel": BASE64, "files": {PATH: SIZE}, "kernel-files": {...}}
//	{"op": "gadget-update", "old": BASE64, "new": BASE64, "rules": RULES, "kernel": BASE64}
//	{"op": "snap", "yaml": BASE64}
//	{"op": "kernel", "yaml": BASE64}
//	{"op": "about"}
//
// An answer has "verdict" (accepted, refused, crashed, misused), "error" unless accepted, and what was understood.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
)

// request holds the fields of all operations; what an operation does not use is left empty.
type request struct {
	Op          string                 `json:"op"`
	Text        []byte                 `json:"text"`
	Stream      bool                   `json:"stream"`
	Trusted     [][]byte               `json:"trusted"`
	Others      [][]byte               `json:"others"`
	Assertion   []byte                 `json:"assertion"`
	Time        string                 `json:"time"`
	Headers     map[string]interface{} `json:"headers"`
	Body        []byte                 `json:"body"`
	Key         string                 `json:"key"`
	Yaml        []byte                 `json:"yaml"`
	Rules       string                 `json:"rules"`
	Layout      bool                   `json:"layout"`
	Kernel      []byte                 `json:"kernel"`
	Files       map[string]int64       `json:"files"`
	KernelFiles map[string]int64       `json:"kernel-files"`
	Old         []byte                 `json:"old"`
	New         []byte                 `json:"new"`
}

type answer map[string]interface{}

// misuse is the error of a request that makes no sense: a bug of the caller, not a judgement.
type misuse string

func (m misuse) Error() string { return string(m) }

var operations = map[string]func(*request) (answer, error){
	"about":          about,
	"decode":         decodeAssertions,
	"verify":         verifyAssertion,
	"encode":         encodeAssertion,
	"gadget":         judgeGadget,
	"gadget-content": judgeGadgetContent,
	"gadget-update":  judgeGadgetUpdate,
	"snap":           judgeSnap,
	"kernel":         judgeKernel,
}

func about(*request) (answer, error) {
	return answer{"library": libraryGeneration, "types": assertionTypes()}, nil
}

// judge runs one operation; a panic of the library is a verdict of its own.
func judge(line []byte) (result answer) {
	defer func() {
		if failure := recover(); failure != nil {
			result = answer{"verdict": "crashed", "error": fmt.Sprint(failure)}
		}
	}()
	var asked request
	if err := json.Unmarshal(line, &asked); err != nil {
		return answer{"verdict": "misused", "error": err.Error()}
	}
	operation, known := operations[asked.Op]
	if !known {
		return answer{"verdict": "misused", "error": "no such operation: " + asked.Op}
	}
	found, err := operation(&asked)
	if found == nil {
		found = answer{}
	}
	switch err.(type) {
	case nil:
		found["verdict"] = "accepted"
	case misuse:
		found["verdict"], found["error"] = "misused", err.Error()
	default:
		found["verdict"], found["error"] = "refused", err.Error()
	}
	return found
}

func main() {
	in := bufio.NewReaderSize(os.Stdin, 1<<20)
	out := bufio.NewWriter(os.Stdout)
	words := json.NewEncoder(out)
	words.SetEscapeHTML(false)
	for {
		line, err := in.ReadBytes('\n')
		if len(line) == 0 && err != nil {
			return
		}
		if err := words.Encode(judge(line)); err != nil {
			fmt.Fprintln(os.Stderr, "cannot write an answer:", err)
			os.Exit(1)
		}
		if in.Buffered() == 0 {
			out.Flush()
		}
	}
}
