package backends

import "net"

// Loopback reports whether host, without a port, means this machine: the one place that keys and data may reach unencrypted. Names are not
// resolved; only "localhost" and addresses count.
func Loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
