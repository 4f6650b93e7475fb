// SPDX-License-Identifier: Apache-2.0
//
// A Pub/Sub for tests: Google's own fake of the service (cloud.google.com/go/pubsub/pstest, which speaks gRPC) behind the
// REST interface that leat uses. What it answers, refuses and redelivers is the fake's; from here come the paths, the
// JSON (protojson, as at Google), the HTTP status of a gRPC code, and that a pull waits for a message, up to 90 seconds, as
// the service does. It listens on the address that is its only argument, and ends with the process that started it.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	pb "cloud.google.com/go/pubsub/apiv1/pubsubpb"
	"cloud.google.com/go/pubsub/pstest"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
)

const (
	bodyMax  = 64 << 20
	pullWait = 90 * time.Second
	pullStep = 250 * time.Millisecond // for what only time brings: the end of a lease, of a backoff
)

// google.rpc.Code: its name, and the HTTP status that Google's own front end makes of it (google/rpc/code.proto).
var statuses = map[codes.Code]struct {
	http int
	name string
}{
	codes.Canceled:           {499, "CANCELLED"},
	codes.InvalidArgument:    {400, "INVALID_ARGUMENT"},
	codes.DeadlineExceeded:   {504, "DEADLINE_EXCEEDED"},
	codes.NotFound:           {404, "NOT_FOUND"},
	codes.AlreadyExists:      {409, "ALREADY_EXISTS"},
	codes.PermissionDenied:   {403, "PERMISSION_DENIED"},
	codes.ResourceExhausted:  {429, "RESOURCE_EXHAUSTED"},
	codes.FailedPrecondition: {400, "FAILED_PRECONDITION"},
	codes.Aborted:            {409, "ABORTED"},
	codes.OutOfRange:         {400, "OUT_OF_RANGE"},
	codes.Unimplemented:      {501, "UNIMPLEMENTED"},
	codes.Internal:           {500, "INTERNAL"},
	codes.Unavailable:        {503, "UNAVAILABLE"},
	codes.Unauthenticated:    {401, "UNAUTHENTICATED"},
}

// One request of the REST interface: /v1/NAME:VERB, or /v1/projects/P/COLLECTION.
type request struct {
	name, verb string
	body       []byte
}

// Reads the request's JSON into a message.
func (r request) into(m proto.Message) error {
	if len(r.body) == 0 {
		return nil
	}
	if err := protojson.Unmarshal(r.body, m); err != nil {
		return status.Error(codes.InvalidArgument, err.Error())
	}
	return nil
}

type front struct {
	publisher  pb.PublisherClient
	subscriber pb.SubscriberClient
	news       *news
}

// Wakes the pulls that wait: those of a topic's subscriptions when something is published there, those of a subscription
// when something of it was settled or handed back. What the fake would be asked every few milliseconds otherwise, by each.
type news struct {
	mu     sync.Mutex
	topics map[string]string        // subscription -> topic
	heard  map[string]chan struct{} // of a topic or subscription: closed by the next news
}

func (n *news) follow(subscription, topic string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.topics[subscription] = topic
}

func (n *news) of(name string) chan struct{} {
	if n.heard[name] == nil {
		n.heard[name] = make(chan struct{})
	}
	return n.heard[name]
}

// To be asked for before one looks, so that nothing is missed between.
func (n *news) next(subscription string) (own, published <-chan struct{}) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.of(subscription), n.of(n.topics[subscription])
}

func (n *news) tell(name string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if c := n.heard[name]; c != nil {
		close(c)
		delete(n.heard, name)
	}
}

// A pull that waits as the service does; the fake answers at once.
func (f front) pull(ctx context.Context, m *pb.PullRequest) (proto.Message, error) {
	end := time.Now().Add(pullWait)
	//lint:ignore SA1019 the field is old, and still served
	waits := !m.ReturnImmediately
	m.ReturnImmediately = true // else the fake looks again after half a second only
	for {
		own, published := f.news.next(m.Subscription)
		answer, err := f.subscriber.Pull(ctx, m)
		if err != nil || !waits || len(answer.ReceivedMessages) > 0 || time.Now().After(end) {
			return answer, err
		}
		select {
		case <-ctx.Done():
			return nil, status.FromContextError(ctx.Err()).Err()
		case <-own:
		case <-published:
		case <-time.After(pullStep):
		}
	}
}

func (f front) topic(ctx context.Context, method string, r request) (proto.Message, error) {
	switch method + r.verb {
	case "PUT":
		m := &pb.Topic{}
		if err := r.into(m); err != nil {
			return nil, err
		}
		m.Name = r.name
		return f.publisher.CreateTopic(ctx, m)
	case "GET":
		return f.publisher.GetTopic(ctx, &pb.GetTopicRequest{Topic: r.name})
	case "DELETE":
		return f.publisher.DeleteTopic(ctx, &pb.DeleteTopicRequest{Topic: r.name})
	case "POSTpublish":
		m := &pb.PublishRequest{}
		if err := r.into(m); err != nil {
			return nil, err
		}
		m.Topic = r.name
		defer f.news.tell(m.Topic)
		return f.publisher.Publish(ctx, m)
	}
	return nil, errNoPath
}

func (f front) subscription(ctx context.Context, method string, r request) (proto.Message, error) {
	switch method + r.verb {
	case "PUT":
		m := &pb.Subscription{}
		if err := r.into(m); err != nil {
			return nil, err
		}
		m.Name = r.name
		f.news.follow(m.Name, m.Topic)
		return f.subscriber.CreateSubscription(ctx, m)
	case "GET":
		return f.subscriber.GetSubscription(ctx, &pb.GetSubscriptionRequest{Subscription: r.name})
	case "DELETE":
		defer f.news.tell(r.name)
		return f.subscriber.DeleteSubscription(ctx, &pb.DeleteSubscriptionRequest{Subscription: r.name})
	case "PATCH":
		m := &pb.UpdateSubscriptionRequest{}
		if err := r.into(m); err != nil {
			return nil, err
		}
		if m.UpdateMask == nil {
			m.UpdateMask = &fieldmaskpb.FieldMask{}
		}
		m.Subscription.Name = r.name
		return f.subscriber.UpdateSubscription(ctx, m)
	case "POSTpull":
		m := &pb.PullRequest{}
		if err := r.into(m); err != nil {
			return nil, err
		}
		m.Subscription = r.name
		return f.pull(ctx, m)
	case "POSTacknowledge":
		m := &pb.AcknowledgeRequest{}
		if err := r.into(m); err != nil {
			return nil, err
		}
		m.Subscription = r.name
		defer f.news.tell(m.Subscription)
		return f.subscriber.Acknowledge(ctx, m)
	case "POSTmodifyAckDeadline":
		m := &pb.ModifyAckDeadlineRequest{}
		if err := r.into(m); err != nil {
			return nil, err
		}
		m.Subscription = r.name
		defer f.news.tell(m.Subscription)
		return f.subscriber.ModifyAckDeadline(ctx, m)
	case "POSTseek":
		m := &pb.SeekRequest{}
		if err := r.into(m); err != nil {
			return nil, err
		}
		if m.GetTime() != nil && m.GetTime().AsTime().Before(time.Now()) {
			// The fake brings back the messages of all topics, without what they hold, and ends at the next pull.
			return nil, status.Error(codes.Unimplemented, "the fake cannot seek back; the emulator can")
		}
		m.Subscription = r.name
		defer f.news.tell(m.Subscription)
		return f.subscriber.Seek(ctx, m)
	}
	return nil, errNoPath
}

var errNoPath = errors.New("no such method or path")

// projects/P/topics[/T][:verb]
func (f front) serve(ctx context.Context, method string, r request) (proto.Message, error) {
	words := strings.Split(r.name, "/")
	if len(words) < 3 || words[0] != "projects" {
		return nil, errNoPath
	}
	list := len(words) == 3 && method == "GET"
	switch {
	case list && words[2] == "topics":
		return f.publisher.ListTopics(ctx, &pb.ListTopicsRequest{Project: words[0] + "/" + words[1]})
	case list && words[2] == "subscriptions":
		return f.subscriber.ListSubscriptions(ctx, &pb.ListSubscriptionsRequest{Project: words[0] + "/" + words[1]})
	case len(words) == 4 && words[2] == "topics":
		return f.topic(ctx, method, r)
	case len(words) == 4 && words[2] == "subscriptions":
		return f.subscription(ctx, method, r)
	}
	return nil, errNoPath
}

func refuse(w http.ResponseWriter, code int, name, text string) {
	w.WriteHeader(code)
	json.NewEncoder(w).Encode(map[string]any{"error": map[string]any{"code": code, "message": text, "status": name}})
}

func (f front) ServeHTTP(w http.ResponseWriter, h *http.Request) {
	body, err := io.ReadAll(io.LimitReader(h.Body, bodyMax))
	if err != nil {
		return
	}
	name, verb, _ := strings.Cut(strings.TrimPrefix(h.URL.Path, "/v1/"), ":")
	answer, err := f.serve(h.Context(), h.Method, request{name, verb, body})
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	if errors.Is(err, errNoPath) {
		refuse(w, 404, "NOT_FOUND", "Method not found.")
		return
	}
	if err != nil {
		st := status.Convert(err)
		s, known := statuses[st.Code()]
		if !known {
			s.http, s.name = 500, "UNKNOWN"
		}
		refuse(w, s.http, s.name, st.Message())
		return
	}
	text, err := protojson.Marshal(answer)
	if err != nil {
		refuse(w, 500, "INTERNAL", err.Error())
		return
	}
	w.Write(text)
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: pstest HOST:PORT")
		os.Exit(2)
	}
	fake := pstest.NewServer()
	size := grpc.MaxCallRecvMsgSize(bodyMax)
	conn, err := grpc.NewClient(fake.Addr, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultCallOptions(size, grpc.MaxCallSendMsgSize(bodyMax)))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	l, err := net.Listen("tcp", os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Fprintln(os.Stderr, http.Serve(l, front{pb.NewPublisherClient(conn), pb.NewSubscriberClient(conn), &news{topics: map[string]string{}, heard: map[string]chan struct{}{}}}))
	os.Exit(1)
}
