// Verifies chains as Go's crypto/x509 does: a question is a line of JSON, and so is the answer, "" for a chain that is
// accepted.
package main

import (
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"
)

type question struct {
	Roots, Intermediates [][]byte
	Leaf                 []byte
	Client               bool
	Name                 string
	At                   int64
}

func verify(asked question) error {
	var unread []error
	options := x509.VerifyOptions{Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), DNSName: asked.Name}
	options.CurrentTime, options.KeyUsages = time.Unix(asked.At, 0), []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	if asked.Client {
		options.KeyUsages = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	}
	add := func(pool *x509.CertPool, certificates [][]byte) {
		for _, der := range certificates {
			certificate, err := x509.ParseCertificate(der)
			if err != nil {
				unread = append(unread, err)
				continue
			}
			pool.AddCert(certificate)
		}
	}
	add(options.Roots, asked.Roots)
	add(options.Intermediates, asked.Intermediates)
	leaf, err := x509.ParseCertificate(asked.Leaf)
	if err == nil {
		_, err = leaf.Verify(options)
	}
	if err != nil && len(unread) > 0 {
		return fmt.Errorf("%w; %w", err, errors.Join(unread...))
	}
	return err
}

func main() {
	questions, answers := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	for asked := (question{}); questions.Decode(&asked) == nil; asked = (question{}) {
		answer := ""
		if err := verify(asked); err != nil {
			answer = err.Error()
		}
		answers.Encode(answer)
	}
}
