package main

// Assertions: reading them, verifying them against roots of trust, and the canonical form of what is to be signed.

import (
	"bytes"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"time"

	"github.com/snapcore/snapd/asserts"
)

func assertionTypes() map[string]int {
	return asserts.MaxSupportedFormats(0)
}

// described is what the caller compares: the headers as read, and how the library cut the bytes.
func described(assertion asserts.Assertion) answer {
	content, signature := assertion.Signature()
	return answer{
		"type":      assertion.Type().Name,
		"headers":   assertion.Headers(),
		"body":      assertion.Body(),
		"content":   content,
		"signature": signature,
		"revision":  assertion.Revision(),
		"format":    assertion.Format(),
		"supported": assertion.SupportedFormat(),
		"key":       assertion.Ref().PrimaryKey,
	}
}

func readStream(raw []byte) ([]asserts.Assertion, error) {
	var found []asserts.Assertion
	decoder := asserts.NewDecoder(bytes.NewReader(raw))
	for {
		assertion, err := decoder.Decode()
		if err == io.EOF {
			return found, nil
		}
		if err != nil {
			return nil, err
		}
		found = append(found, assertion)
	}
}

func decodeAssertions(asked *request) (answer, error) {
	var found []asserts.Assertion
	var err error
	if asked.Stream {
		found, err = readStream(asked.Text)
	} else {
		var one asserts.Assertion
		if one, err = asserts.Decode(asked.Text); err == nil {
			found = append(found, one)
		}
	}
	if err != nil {
		return nil, err
	}
	list := make([]answer, 0, len(found))
	for _, assertion := range found {
		if !assertion.SupportedFormat() {
			return nil, errors.New("a format that this library does not support")
		}
		list = append(list, described(assertion))
	}
	return answer{"assertions": list}, nil
}

func readStreams(texts [][]byte, what string) ([]asserts.Assertion, error) {
	var all []asserts.Assertion
	for _, text := range texts {
		found, err := readStream(text)
		if err != nil {
			return nil, misuse("cannot read the " + what + ": " + err.Error())
		}
		all = append(all, found...)
	}
	return all, nil
}

// settle adds assertions in whatever order their prerequisites ask for; what is left could not be believed.
func settle(db *asserts.Database, waiting []asserts.Assertion) map[string]string {
	refused := map[string]string{}
	for progress := true; progress; {
		progress = false
		var still []asserts.Assertion
		for _, assertion := range waiting {
			err := db.Add(assertion)
			if err == nil || asserts.IsUnaccceptedUpdate(err) {
				progress = true
				delete(refused, assertion.Ref().Unique())
				continue
			}
			refused[assertion.Ref().Unique()] = err.Error()
			still = append(still, assertion)
		}
		waiting = still
	}
	return refused
}

func verifyAssertion(asked *request) (answer, error) {
	now, err := time.Parse(time.RFC3339, asked.Time)
	if err != nil {
		return nil, misuse(err.Error())
	}
	trusted, err := readStreams(asked.Trusted, "trusted")
	if err != nil {
		return nil, err
	}
	others, err := readStreams(asked.Others, "others")
	if err != nil {
		return nil, err
	}
	db, err := asserts.OpenDatabase(&asserts.DatabaseConfig{
		Trusted: trusted, Backstore: asserts.NewMemoryBackstore(), Checkers: checkersAt(now),
	})
	if err != nil {
		return nil, misuse("cannot open a database: " + err.Error())
	}
	left := settle(db, others)
	subject, err := readStream(asked.Assertion)
	if err != nil {
		return nil, err
	}
	for _, assertion := range subject {
		if err := db.Check(assertion); err != nil {
			return answer{"left": left}, err
		}
	}
	return answer{"left": left}, nil
}

var keys = map[string]asserts.PrivateKey{}

func privateKey(text string) (asserts.PrivateKey, error) {
	if known, ok := keys[text]; ok {
		return known, nil
	}
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil, misuse("the key is not PEM")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, misuse("the key is not PKCS#8: " + err.Error())
	}
	numbers, ok := parsed.(*rsa.PrivateKey)
	if !ok {
		return nil, misuse("the key is not RSA")
	}
	keys[text] = asserts.RSAPrivateKey(numbers)
	return keys[text], nil
}

func encodeAssertion(asked *request) (answer, error) {
	key, err := privateKey(asked.Key)
	if err != nil {
		return nil, err
	}
	name, _ := asked.Headers["type"].(string)
	kind := asserts.Type(name)
	if kind == nil {
		return nil, errors.New("no such type: " + name)
	}
	signed, err := asserts.SignWithoutAuthority(kind, asked.Headers, asked.Body, key)
	if _, spoken := asked.Headers["authority-id"]; spoken {
		db, failure := asserts.OpenDatabase(&asserts.DatabaseConfig{})
		if failure == nil {
			failure = db.ImportKey(key)
		}
		if failure != nil {
			return nil, misuse(failure.Error())
		}
		signed, err = db.Sign(kind, asked.Headers, asked.Body, key.PublicKey().ID())
	}
	if err != nil {
		return nil, err
	}
	return answer{"text": asserts.Encode(signed), "assertion": described(signed)}, nil
}
