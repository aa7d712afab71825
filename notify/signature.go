package notify

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"strconv"
	"strings"
)

const (
	secretPrefix = "whsec_"
	secretBytes  = 32 // the specification wants 24 to 64
)

// NewSecret makes a signing secret: whsec_ and its base64.
func NewSecret() string {
	var b [secretBytes]byte
	_, _ = rand.Read(b[:]) // it never returns an error
	return secretPrefix + base64.StdEncoding.EncodeToString(b[:])
}

// sign returns the header webhook-signature: for each secret a v1 signature of id, timestamp and body, separated by spaces.
func sign(id string, timestamp int64, body []byte, secrets ...string) (string, error) {
	signatures := make([]string, len(secrets))
	for i, secret := range secrets {
		key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, secretPrefix))
		if err != nil {
			return "", err
		}
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(id + "." + strconv.FormatInt(timestamp, 10) + "."))
		mac.Write(body)
		signatures[i] = "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
	}
	return strings.Join(signatures, " "), nil
}
