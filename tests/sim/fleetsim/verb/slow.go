package verb

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"fleetsim/client"
	"fleetsim/load"
)

const dripPause = 300 * time.Millisecond

// misbehaviour uses one connection badly until the manager closes it or ctx ends.
type misbehaviour func(ctx context.Context, options *options, index int) error

var misbehaviours = map[string]misbehaviour{
	"half-open":   halfOpen,
	"silent":      silent,
	"slow-header": slowHeader,
	"slow-body":   slowBody,
	"slow-reader": slowReader,
	"lossy":       lossy,
	"lossy-poll":  lossyPoll,
}

func slowNames() []string {
	names := make([]string, 0, len(misbehaviours))
	for name := range misbehaviours {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// slow runs clients that are slow or lose their connections: --connections of each kind.
func slow(ctx context.Context, options *options) error {
	if options.duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, options.duration)
		defer cancel()
	}
	var clients sync.WaitGroup
	opened, refused := map[string]*atomic.Int64{}, &atomic.Int64{}
	for number, kind := range strings.Split(options.kinds, ",") {
		behave := misbehaviours[kind]
		if behave == nil {
			return fmt.Errorf("--kinds has %q; known are %s", kind, strings.Join(slowNames(), ", "))
		}
		opened[kind] = &atomic.Int64{}
		for n := range options.connections {
			index := options.first + (number*options.connections+n)%options.count
			clients.Go(func() {
				for ctx.Err() == nil {
					opened[kind].Add(1)
					if err := behave(ctx, options, index); err != nil && ctx.Err() == nil {
						refused.Add(1)
						pause(ctx, retryPause)
					}
				}
			})
		}
	}
	clients.Wait()
	counts := map[string]int64{}
	for kind, count := range opened {
		counts[kind] = count.Load()
	}
	return printResult(load.Result{"verb": "slow", "opened": counts, "refused": refused.Load()})
}

// halfOpen connects and never begins with TLS.
func halfOpen(ctx context.Context, options *options, index int) error {
	connection, err := options.agents.Dialer.DialPlain(index)
	if err != nil {
		return err
	}
	awaitEnd(ctx, connection)
	return nil
}

// silent makes a TLS connection and sends nothing.
func silent(ctx context.Context, options *options, index int) error {
	connection, err := options.agents.Dialer.Dial(index)
	if err != nil {
		return err
	}
	awaitEnd(ctx, connection)
	return nil
}

// slowHeader sends a request byte by byte.
func slowHeader(ctx context.Context, options *options, index int) error {
	connection, err := options.agents.Dialer.Dial(index)
	if err != nil {
		return err
	}
	request, _ := options.agents.Sign(checkInOf(index, ""))
	drip(ctx, connection, request)
	return nil
}

// slowBody sends the headers of a report at once, and its body byte by byte.
func slowBody(ctx context.Context, options *options, index int) error {
	connection, err := options.agents.Dialer.Dial(index)
	if err != nil {
		return err
	}
	body := []byte(strings.Repeat(" ", 1000))
	request, _ := options.agents.Sign(client.Signed{
		Index: index, Method: http.MethodPost, Target: "/agent/v1/status", Body: body,
	})
	head := len(request) - len(body)
	if _, err := connection.Write(request[:head]); err != nil {
		return err
	}
	drip(ctx, connection, request[head:])
	return nil
}

// slowReader asks for its document again and again, and reads a byte at a time.
func slowReader(ctx context.Context, options *options, index int) error {
	connection, err := options.agents.Dialer.Dial(index)
	if err != nil {
		return err
	}
	defer connection.Abort()
	for ctx.Err() == nil {
		request, _ := options.agents.Sign(checkInOf(index, ""))
		if _, err := connection.Write(request); err != nil {
			return nil
		}
		_ = connection.SetReadDeadline(time.Now().Add(options.timeout))
		if _, err := connection.Read(make([]byte, 1)); err != nil {
			return nil
		}
		pause(ctx, dripPause)
	}
	return nil
}

// lossy sends a request and loses the connection before the answer.
func lossy(ctx context.Context, options *options, index int) error {
	return sendAndAbort(ctx, options, checkInOf(index, ""), 0)
}

// lossyPoll loses the connection of a long poll.
func lossyPoll(ctx context.Context, options *options, index int) error {
	tag := options.agents.Record(index).Tag()
	headers := fmt.Sprintf("if-none-match: %s\r\nprefer: wait=60\r\n", tag)
	return sendAndAbort(ctx, options, checkInOf(index, headers), dripPause)
}

func sendAndAbort(
	ctx context.Context, options *options, signed client.Signed, delay time.Duration,
) error {
	connection, err := options.agents.Dialer.Dial(signed.Index)
	if err != nil {
		return err
	}
	defer connection.Abort()
	request, _ := options.agents.Sign(signed)
	_, err = connection.Write(request)
	pause(ctx, delay)
	return err
}

func checkInOf(index int, headers string) client.Signed {
	return client.Signed{
		Index: index, Method: http.MethodGet, Target: "/agent/v1/desired", Headers: headers,
	}
}

// drip sends the data byte by byte, until the manager closes the connection or ctx ends.
func drip(ctx context.Context, connection *client.Connection, data []byte) {
	defer connection.Abort()
	ended := make(chan struct{})
	go func() {
		awaitEnd(ctx, connection)
		close(ended)
	}()
	for _, letter := range data {
		if _, err := connection.Write([]byte{letter}); err != nil {
			break
		}
		select {
		case <-ended:
			return
		case <-time.After(dripPause):
		}
	}
	<-ended
}

// awaitEnd reads until the manager closes the connection or ctx ends, and closes it.
func awaitEnd(ctx context.Context, connection net.Conn) {
	defer connection.Close()
	stop := context.AfterFunc(ctx, func() { _ = connection.SetReadDeadline(time.Now()) })
	defer stop()
	_ = connection.SetDeadline(time.Now().Add(5 * time.Minute))
	buffer := make([]byte, 4096)
	for {
		if _, err := connection.Read(buffer); err != nil {
			return
		}
	}
}
