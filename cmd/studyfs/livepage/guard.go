package livepage

import (
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
)

func newToken(random io.Reader) (string, error) {
	raw := make([]byte, tokenBytes)
	if _, err := io.ReadFull(random, raw); err != nil {
		return "", fmt.Errorf("live page: a token: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(raw), nil
}

// policy is what every answer carries. Trusted types make the browser itself refuse text that becomes HTML.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

func setHeaders(h http.Header) {
	for name, value := range map[string]string{
		"Content-Security-Policy":      policy,
		"X-Content-Type-Options":       "nosniff",
		"X-Frame-Options":              "DENY",
		"Referrer-Policy":              "no-referrer",
		"Cache-Control":                "no-store",
		"Cross-Origin-Opener-Policy":   "same-origin",
		"Cross-Origin-Resource-Policy": "same-origin",
		"Permissions-Policy":           "interest-cohort=(), geolocation=(), camera=(), microphone=()",
	} {
		h.Set(name, value)
	}
}

// guard lets a request through that was meant for this page and has its token. Behind it the path has no token any more.
func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.answers.RLock()
		defer s.answers.RUnlock()
		setHeaders(w.Header())
		switch {
		case s.ctx.Err() != nil:
			refuse(w, "the mount is going away", http.StatusServiceUnavailable)
		case !s.meant(r.Host):
			refuse(w, "this address is not known here", http.StatusMisdirectedRequest)
		case !s.sameOrigin(r):
			refuse(w, "requests of other pages are refused", http.StatusForbidden)
		case s.hasBearer(r):
			next.ServeHTTP(w, r)
		case s.opensPage(r):
			s.page(w, r)
		default:
			w.Header().Set("WWW-Authenticate", "Bearer")
			refuse(w, "the address of the page has a token, which is not this one: studyfs status shows it", http.StatusUnauthorized)
		}
	})
}

// refuse also ends the connection: strangers keep none.
func refuse(w http.ResponseWriter, why string, status int) {
	w.Header().Set("Connection", "close")
	http.Error(w, why, status)
}

// meant tells whether a Host is the address that we listen on. "localhost" is what people type.
func (s *Server) meant(host string) bool {
	at := s.listener.Addr().String()
	_, port, err := net.SplitHostPort(at)
	return host == at || err == nil && host == net.JoinHostPort("localhost", port)
}

// sameOrigin refuses what a browser says comes from another page.
func (s *Server) sameOrigin(r *http.Request) bool {
	if origin := r.Header.Get("Origin"); origin != "" && origin != "http://"+r.Host {
		return false
	}
	site := r.Header.Get("Sec-Fetch-Site")
	opened := r.Method == http.MethodGet && r.Header.Get("Sec-Fetch-Mode") == "navigate" // a link in a mail, or the address bar
	return site == "" || site == "same-origin" || site == "none" || opened
}

func (s *Server) hasBearer(r *http.Request) bool {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	return ok && s.is(token)
}

// opensPage tells whether the path begins with the token. Files of the page and figures without names are to be had so: all else
// wants the header.
func (s *Server) opensPage(r *http.Request) bool {
	token, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	return s.is(token)
}

// is compares in a time that tells nothing of where the difference is.
func (s *Server) is(token string) bool {
	return subtle.ConstantTimeCompare([]byte(token), []byte(s.token)) == 1
}

// page answers with a file of the page.
func (s *Server) page(w http.ResponseWriter, r *http.Request) {
	root := "/" + s.token
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "only reading", http.StatusMethodNotAllowed)
	case r.URL.Path == root:
		http.Redirect(w, r, root+"/", http.StatusPermanentRedirect)
	case r.URL.Path == root+"/metrics":
		s.metrics.ServeHTTP(w, r)
	default:
		http.StripPrefix(root, http.FileServerFS(s.files)).ServeHTTP(w, r)
	}
}
