package azure

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"studyfs/backends"
)

// blindExpiry is how long a token is used that does not tell when it expires.
const blindExpiry = 5 * time.Minute

// renewAhead is how long before its end a token is replaced, so that none expires on its way.
const renewAhead = 2 * time.Minute

// parseToken reads an access token of Microsoft Entra: the token itself, or what "az account get-access-token" prints, which is an object with
// it as accessToken. It is a JSON Web Token (RFC 7519), whose claim exp tells when it ends.
func parseToken(text string) (Key, bool) {
	var printed struct {
		Token string `json:"accessToken"`
	}
	if json.Unmarshal([]byte(text), &printed) == nil && printed.Token != "" {
		text = printed.Token
	}
	parts := strings.Split(text, ".")
	if len(parts) != 3 || !strings.HasPrefix(text, "eyJ") {
		return Key{}, false
	}
	var claims struct {
		Exp int64 `json:"exp"`
	}
	body, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(body, &claims) != nil {
		return Key{}, false
	}
	k := Key{text: backends.NewSecret(text), token: true}
	if claims.Exp > 0 {
		k.expires = time.Unix(claims.Exp, 0)
	}
	return k, true
}

// identity hands tokens to the SDK, which asks again shortly before one ends. It is an azcore.TokenCredential.
type identity struct {
	now  func() time.Time
	read func() (Key, error) // nil: there is but one

	mu  sync.Mutex // guards key; held while read runs, since all wait for the same
	key Key
}

// GetToken returns a token that is good for a while, backends.ErrAuth where none can be had.
func (i *identity) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	now := i.now()
	if i.read != nil && !i.key.expires.After(now.Add(renewAhead)) {
		if k, err := i.read(); err == nil && k.token {
			i.key = k
		}
	}
	end := i.key.expires
	if end.IsZero() {
		end = now.Add(blindExpiry)
	}
	if !end.After(now) {
		return azcore.AccessToken{}, fmt.Errorf("%w: the access token has expired", backends.ErrAuth)
	}
	return azcore.AccessToken{Token: i.key.text.Reveal(), ExpiresOn: end}, nil
}
