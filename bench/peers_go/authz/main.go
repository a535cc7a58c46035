// The usual way to block users from outside of Envoy: ext_authz over gRPC, asking Redis each time.
// Only for comparison. Usage: authz <listen address> <Redis address>
package main

import (
	"context"
	"log"
	"net"
	"os"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	auth "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	envoytype "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"github.com/redis/go-redis/v9"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
)

type server struct {
	auth.UnimplementedAuthorizationServer
	redis *redis.Client
}

func (s *server) Check(ctx context.Context, request *auth.CheckRequest) (*auth.CheckResponse, error) {
	user := request.GetAttributes().GetRequest().GetHttp().GetHeaders()["x-user-id"]
	blocked, err := s.redis.Exists(ctx, "blocked:"+user).Result()
	if err != nil {
		return nil, err
	}
	if blocked == 0 {
		ok := &auth.CheckResponse_OkResponse{OkResponse: &auth.OkHttpResponse{}}
		return &auth.CheckResponse{Status: &status.Status{Code: int32(codes.OK)}, HttpResponse: ok}, nil
	}
	denied := &auth.CheckResponse_DeniedResponse{DeniedResponse: &auth.DeniedHttpResponse{
		Status:  &envoytype.HttpStatus{Code: envoytype.StatusCode_Forbidden},
		Headers: []*core.HeaderValueOption{},
	}}
	code := int32(codes.PermissionDenied)
	return &auth.CheckResponse{Status: &status.Status{Code: code}, HttpResponse: denied}, nil
}

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: authz <listen address> <Redis address>")
	}
	listener, err := net.Listen("tcp", os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	grpcServer := grpc.NewServer()
	client := redis.NewClient(&redis.Options{Addr: os.Args[2]})
	auth.RegisterAuthorizationServer(grpcServer, &server{redis: client})
	log.Fatal(grpcServer.Serve(listener))
}
