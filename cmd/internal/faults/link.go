//go:build linux

package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"
)

// link is the way from one worker to one server: a proxy of Toxiproxy's.
type link struct{ proxy *toxiproxy.Proxy }

// toxic is a fault of a connection, in Toxiproxy's words.
type toxic struct {
	kind       string
	streams    []string // "upstream", "downstream"
	attributes string   // JSON
	share      float64  // of the connections
}

// linker makes links.
type linker struct{ server *toxiproxy.ApiServer }

func newLinker() linker {
	return linker{toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())}
}

// Ports of links lie below those that the kernel gives to outgoing connections
// (net.ipv4.ip_local_port_range): while a link is down, one of the many
// connections around it could take its port.
const firstPort, lastPort = 20_000, 32_000

func (l linker) open(name, upstream string) (*link, error) {
	var err error
	for range 100 {
		address := fmt.Sprintf("127.0.0.1:%d", firstPort+rand.N(lastPort-firstPort))
		p := toxiproxy.NewProxy(l.server, name, address, upstream)
		if err = p.Start(); err == nil {
			return &link{p}, nil
		}
	}
	return nil, fmt.Errorf("open the link %s: %w", name, err)
}

func (l *link) url() string { return "http://" + l.proxy.Listen }

// down cuts all connections and refuses new ones.
func (l *link) down() { l.proxy.Stop() }

// up undoes down.
func (l *link) up() error { return l.proxy.Start() }

// hangUp cuts all connections.
func (l *link) hangUp() error {
	l.down()
	return l.up()
}

// spoil adds a toxic. cure removes it; connections whose data it has dropped
// are cut then.
func (l *link) spoil(t toxic) (cure func() error, err error) {
	var names []string
	for _, stream := range t.streams {
		name := t.kind + "-" + stream
		definition := fmt.Sprintf(`{"name":%q,"type":%q,"stream":%q,"toxicity":%g,"attributes":%s}`,
			name, t.kind, stream, t.share, t.attributes)
		if _, err := l.proxy.Toxics.AddToxicJson(strings.NewReader(definition)); err != nil {
			return nil, fmt.Errorf("add the toxic %s: %w", definition, err)
		}
		names = append(names, name)
	}
	return func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		for _, name := range names {
			if err := l.proxy.Toxics.RemoveToxic(ctx, name); err != nil {
				return fmt.Errorf("remove the toxic %s: %w", name, err)
			}
		}
		return nil
	}, nil
}
