// Command deviceplugin offers a node's devices to its kubelet, as a layout file lists them.
//
// The layout is a JSON object: a resource's name to a list of devices, each with an "id". It is read
// again when it changes, so that a test can take devices away, add some, or cut a card anew. What is
// offered is real to the kubelet and to PodResources; behind the ids are no devices.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	api "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
)

const look = 200 * time.Millisecond

type device struct {
	ID      string `json:"id"`
	Healthy *bool  `json:"healthy"`
}

type layout map[string][]device

func read(path string) (layout, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var found layout
	if err := json.Unmarshal(data, &found); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return found, nil
}

// plugin serves one resource.
type plugin struct {
	api.UnimplementedDevicePluginServer
	resource string
	path     string
}

func (p *plugin) devices() []*api.Device {
	found, err := read(p.path)
	if err != nil {
		log.Print(err)
		return nil
	}
	var devices []*api.Device
	for _, one := range found[p.resource] {
		health := api.Healthy
		if one.Healthy != nil && !*one.Healthy {
			health = api.Unhealthy
		}
		devices = append(devices, &api.Device{ID: one.ID, Health: health})
	}
	return devices
}

func (p *plugin) GetDevicePluginOptions(context.Context, *api.Empty) (*api.DevicePluginOptions, error) {
	return &api.DevicePluginOptions{}, nil
}

// ListAndWatch tells what there is, and again whenever that changes.
func (p *plugin) ListAndWatch(_ *api.Empty, stream grpc.ServerStreamingServer[api.ListAndWatchResponse]) error {
	var told string
	for {
		devices := p.devices()
		if now := fmt.Sprint(devices); now != told {
			if err := stream.Send(&api.ListAndWatchResponse{Devices: devices}); err != nil {
				return err
			}
			told = now
		}
		select {
		case <-stream.Context().Done():
			return nil
		case <-time.After(look):
		}
	}
}

// Allocate tells a container its devices as NVIDIA's plugin does: time-sliced replicas ("ID::1") of
// a card by the card's own id. Others have a variable named for the resource.
func (p *plugin) Allocate(_ context.Context, request *api.AllocateRequest) (*api.AllocateResponse, error) {
	answer := &api.AllocateResponse{}
	for _, container := range request.ContainerRequests {
		var ids []string
		for _, id := range container.DevicesIds {
			id, _, _ = strings.Cut(id, "::")
			if !slices.Contains(ids, id) {
				ids = append(ids, id)
			}
		}
		slices.Sort(ids)
		answer.ContainerResponses = append(answer.ContainerResponses, &api.ContainerAllocateResponse{
			Envs: map[string]string{variable(p.resource): strings.Join(ids, ",")},
		})
	}
	return answer, nil
}

func variable(resource string) string {
	if strings.HasPrefix(resource, "nvidia.com/") {
		return "NVIDIA_VISIBLE_DEVICES"
	}
	return strings.ToUpper(strings.NewReplacer("/", "_", ".", "_", "-", "_").Replace(resource)) + "_DEVICES"
}

// serve offers one resource until its socket or the kubelet's is replaced, as when a kubelet starts.
func (p *plugin) serve(folder string) error {
	name := strings.ReplaceAll(p.resource, "/", "_") + ".sock"
	socket := filepath.Join(folder, name)
	if err := os.RemoveAll(socket); err != nil {
		return err
	}
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	server := grpc.NewServer()
	api.RegisterDevicePluginServer(server, p)
	go func() { _ = server.Serve(listener) }()
	defer server.Stop()
	kubelet := filepath.Join(folder, "kubelet.sock")
	registered, err := os.Stat(kubelet)
	if err != nil {
		return err
	}
	if err := register(kubelet, name, p.resource); err != nil {
		return err
	}
	log.Printf("offering %s", p.resource)
	for {
		time.Sleep(look)
		now, err := os.Stat(kubelet)
		if err != nil || !os.SameFile(now, registered) {
			return fmt.Errorf("the kubelet has gone, or is another one")
		}
		if _, err := os.Stat(socket); err != nil {
			return err
		}
	}
}

func register(kubelet, name, resource string) error {
	connection, err := grpc.NewClient("unix://"+kubelet, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer connection.Close()
	limited, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_, err = api.NewRegistrationClient(connection).Register(limited, &api.RegisterRequest{
		Version:      api.Version,
		Endpoint:     name,
		ResourceName: resource,
		Options:      &api.DevicePluginOptions{},
	})
	return err
}

func main() {
	path := flag.String("layout", "", "the file that lists the devices")
	folder := flag.String("folder", api.DevicePluginPath, "where the kubelet looks for plugins")
	flag.Parse()
	serving := map[string]bool{}
	for {
		found, err := read(*path)
		if err != nil {
			log.Print(err)
		}
		for resource := range found {
			if serving[resource] {
				continue
			}
			serving[resource] = true
			one := &plugin{resource: resource, path: *path}
			go func() {
				for {
					log.Printf("%s: %v", one.resource, one.serve(*folder))
					time.Sleep(look)
				}
			}()
		}
		time.Sleep(look)
	}
}
