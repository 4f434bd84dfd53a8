// Command probe asks and answers over the network, and says by its exit code what came back.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// version is set by the linker.
var version = "unknown"

// What came back, as an exit code. A script can tell a refusal from silence, and both from a name that nobody knows.
const (
	answered    = 0
	failed      = 1
	misused     = 2
	refused     = 10
	timedOut    = 11
	unreachable = 12
	unknownName = 13
	httpError   = 14
)

const usage = `usage: probe serve [--port 8080] [--name NAME]   answer over HTTP and UDP with a name (default: the host's)
       probe get URL [--timeout 2s]
       probe dns NAME [--timeout 2s]
       probe tcp|udp HOST:PORT [--timeout 2s]
       probe --version

Each of get, dns, tcp and udp prints one JSON document. Exit codes: 0 answered, 1 something else went wrong, 2 wrong
usage, 10 refused, 11 timed out, 12 no way there, 13 no such name, 14 an HTTP status of 400 or more.
`

// result is what is printed: what was asked, what came back, and how long it took.
type result struct {
	Asked        string   `json:"asked"`
	Outcome      string   `json:"outcome"`
	Answer       string   `json:"answer,omitempty"`
	Addresses    []string `json:"addresses,omitempty"`
	Status       int      `json:"status,omitempty"`
	Error        string   `json:"error,omitempty"`
	Milliseconds int64    `json:"milliseconds"`
}

var outcomes = map[int]string{
	answered: "answered", failed: "failed", refused: "refused", timedOut: "timed-out",
	unreachable: "unreachable", unknownName: "unknown-name", httpError: "http-error",
}

func main() {
	os.Exit(run(os.Args[1:]))
}

func run(arguments []string) int {
	if len(arguments) == 1 && arguments[0] == "--version" {
		fmt.Println("gcloud-pk probe " + version)
		return answered
	}
	if len(arguments) == 0 {
		fmt.Fprint(os.Stderr, usage)
		return misused
	}
	verb, rest := arguments[0], arguments[1:]
	if verb == "serve" {
		return serve(rest)
	}
	ask, known := map[string]func(context.Context, string, *result) error{
		"get": get, "dns": resolve, "tcp": connect, "udp": exchange,
	}[verb]
	if !known || len(rest) == 0 {
		fmt.Fprint(os.Stderr, usage)
		return misused
	}
	flags := flag.NewFlagSet(verb, flag.ContinueOnError)
	timeout := flags.Duration("timeout", 2*time.Second, "how long to wait")
	if flags.Parse(rest[1:]) != nil || flags.NArg() != 0 || *timeout <= 0 {
		fmt.Fprint(os.Stderr, usage)
		return misused
	}
	found := result{Asked: verb + " " + rest[0]}
	ctx, cancel := context.WithTimeout(context.Background(), *timeout)
	defer cancel()
	started := time.Now()
	err := ask(ctx, rest[0], &found)
	found.Milliseconds = time.Since(started).Milliseconds()
	code := judge(err)
	if err != nil {
		found.Error = err.Error()
	}
	found.Outcome = outcomes[code]
	line, _ := json.Marshal(found)
	fmt.Println(string(line))
	return code
}

var errStatus = errors.New("the status is that of an error")

// judge gives the code of what came back. A name that is not found comes first: its error can also be a timeout.
func judge(err error) int {
	var name *net.DNSError
	var network net.Error
	switch {
	case err == nil:
		return answered
	case errors.Is(err, errStatus):
		return httpError
	case errors.As(err, &name) && name.IsNotFound:
		return unknownName
	case errors.Is(err, syscall.ECONNREFUSED):
		return refused
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EPERM),
		errors.Is(err, syscall.EACCES):
		return unreachable
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &network) && network.Timeout():
		return timedOut
	}
	return failed
}

// get asks for a page, over a connection of its own and with no proxy. Certificates are checked.
func get(ctx context.Context, address string, found *result) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	found.Status = response.StatusCode
	body, err := io.ReadAll(io.LimitReader(response.Body, 4096))
	if err != nil {
		return err
	}
	found.Answer = strings.TrimSpace(string(body))
	if response.StatusCode >= http.StatusBadRequest {
		return errStatus
	}
	return nil
}

func resolve(ctx context.Context, name string, found *result) error {
	addresses, err := net.DefaultResolver.LookupHost(ctx, name)
	found.Addresses = addresses
	return err
}

func connect(ctx context.Context, address string, found *result) error {
	connection, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	found.Addresses = []string{connection.RemoteAddr().String()}
	return connection.Close()
}

// exchange sends one datagram and waits for the answer: without one, nobody knows whether anything arrived.
func exchange(ctx context.Context, address string, found *result) error {
	connection, err := new(net.Dialer).DialContext(ctx, "udp", address)
	if err != nil {
		return err
	}
	defer connection.Close()
	found.Addresses = []string{connection.RemoteAddr().String()}
	if until, ok := ctx.Deadline(); ok {
		_ = connection.SetDeadline(until)
	}
	if _, err := connection.Write([]byte("probe")); err != nil {
		return err
	}
	answer := make([]byte, 512)
	length, err := connection.Read(answer)
	found.Answer = string(answer[:length])
	return err
}

// serve answers everybody with a name until it is told to end. It needs no privilege and writes nothing.
func serve(arguments []string) int {
	flags := flag.NewFlagSet("serve", flag.ContinueOnError)
	port := flags.Int("port", 8080, "the port, of TCP and of UDP")
	name := flags.String("name", "", "the answer")
	if flags.Parse(arguments) != nil || flags.NArg() != 0 {
		fmt.Fprint(os.Stderr, usage)
		return misused
	}
	if *name == "" {
		*name, _ = os.Hostname()
	}
	address := ":" + strconv.Itoa(*port)
	datagrams, err := net.ListenPacket("udp", address)
	if err != nil {
		fmt.Fprintln(os.Stderr, "probe:", err)
		return failed
	}
	defer datagrams.Close()
	go echo(datagrams, *name)
	server := http.Server{Addr: address, ReadHeaderTimeout: 5 * time.Second}
	server.Handler = http.HandlerFunc(func(writer http.ResponseWriter, _ *http.Request) {
		writer.Header().Set("Content-Type", "text/plain; charset=utf-8")
		fmt.Fprintln(writer, *name)
	})
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	go func() {
		<-ctx.Done()
		_ = server.Close()
	}()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		fmt.Fprintln(os.Stderr, "probe:", err)
		return failed
	}
	return answered
}

func echo(datagrams net.PacketConn, name string) {
	received := make([]byte, 512)
	for {
		_, from, err := datagrams.ReadFrom(received)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			_, _ = datagrams.WriteTo([]byte(name), from)
		}
	}
}
