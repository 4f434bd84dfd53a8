// Command netpol judges flows by NetworkPolicies, for tests: what gcloud-pk renders is looked at by an implementation of
// the semantics that is not gcloud-pk's (the module cyclonus).
//
// Each line of standard input is one scene, each line of standard output its answers, in the order of the queries:
//
//	{"policies": [NetworkPolicy…],
//	 "namespaces": {"a": {"label": "value"}},
//	 "pods": {"web": {"namespace": "a", "labels": {"app": "web"}}},
//	 "queries": [{"from": {"pod": "web", "ip": "10.244.0.1"}, "to": {"ip": "192.0.2.1"}, "port": 443, "protocol": "TCP"}]}
//
//	{"answers": [{"ingress": true, "egress": false}]}    or    {"error": "…"}
//
// A flow passes when both are true: its source may send it, and its destination may receive it. An end without a pod is
// an address outside the cluster. Policies must be as an API server returns them, with defaults filled in.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/mattfenwick/cyclonus/pkg/kube"
	"github.com/mattfenwick/cyclonus/pkg/matcher"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

type pod struct {
	Namespace string            `json:"namespace"`
	Labels    map[string]string `json:"labels"`
}

type end struct {
	Pod string `json:"pod"`
	IP  string `json:"ip"`
}

type query struct {
	From     end             `json:"from"`
	To       end             `json:"to"`
	Port     int             `json:"port"`
	Protocol corev1.Protocol `json:"protocol"`
}

type scene struct {
	Policies   []*networkingv1.NetworkPolicy `json:"policies"`
	Namespaces map[string]map[string]string  `json:"namespaces"`
	Pods       map[string]pod                `json:"pods"`
	Queries    []query                       `json:"queries"`
}

type answer struct {
	Ingress bool `json:"ingress"`
	Egress  bool `json:"egress"`
}

type reply struct {
	Answers []answer `json:"answers,omitempty"`
	Error   string   `json:"error,omitempty"`
}

func main() {
	if err := serve(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "netpol:", err)
		os.Exit(1)
	}
}

// serve answers scene after scene until the input ends.
func serve(input io.Reader, output io.Writer) error {
	scenes := json.NewDecoder(bufio.NewReader(input))
	scenes.DisallowUnknownFields()
	replies := json.NewEncoder(output)
	for {
		var asked scene
		if err := scenes.Decode(&asked); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if err := replies.Encode(judge(asked)); err != nil {
			return err
		}
	}
}

// judge answers the queries of one scene. The module panics on what an API server would not have stored.
func judge(asked scene) (said reply) {
	defer func() {
		if wrong := recover(); wrong != nil {
			said = reply{Error: fmt.Sprint(wrong)}
		}
	}()
	for _, policy := range asked.Policies {
		if err := sameSelections(policy, asked); err != nil {
			return reply{Error: fmt.Sprintf("NetworkPolicy %s/%s: %v", policy.Namespace, policy.Name, err)}
		}
	}
	policies := matcher.BuildNetworkPolicies(false, asked.Policies)
	said.Answers = []answer{}
	for _, one := range asked.Queries {
		source, err := asked.peer(one.From)
		if err != nil {
			return reply{Error: err.Error()}
		}
		destination, err := asked.peer(one.To)
		if err != nil {
			return reply{Error: err.Error()}
		}
		result := policies.IsTrafficAllowed(&matcher.Traffic{
			Source:       source,
			Destination:  destination,
			ResolvedPort: one.Port,
			Protocol:     one.Protocol,
		})
		said.Answers = append(said.Answers, answer{result.Ingress.IsAllowed(), result.Egress.IsAllowed()})
	}
	return said
}

func (s scene) peer(of end) (*matcher.TrafficPeer, error) {
	peer := &matcher.TrafficPeer{IP: of.IP}
	if of.Pod == "" {
		return peer, nil
	}
	found, known := s.Pods[of.Pod]
	if !known {
		return nil, fmt.Errorf("no pod %q in the scene", of.Pod)
	}
	its, known := s.Namespaces[found.Namespace]
	if !known {
		return nil, fmt.Errorf("no namespace %q in the scene", found.Namespace)
	}
	peer.Internal = &matcher.InternalPeer{PodLabels: found.Labels, NamespaceLabels: its, Namespace: found.Namespace}
	return peer, nil
}

// sameSelections compares the module's label selection with Kubernetes' own for every selector of a policy. They differ
// where a key is absent (NotIn selects such an object, and a wanted empty value does not; the module has both the other
// way round), and an answer that rests on that would be worth nothing.
func sameSelections(policy *networkingv1.NetworkPolicy, asked scene) error {
	pods := []metav1.LabelSelector{policy.Spec.PodSelector}
	namespaces := []metav1.LabelSelector{}
	peers := []networkingv1.NetworkPolicyPeer{}
	for _, rule := range policy.Spec.Ingress {
		peers = append(peers, rule.From...)
	}
	for _, rule := range policy.Spec.Egress {
		peers = append(peers, rule.To...)
	}
	for _, peer := range peers {
		if peer.PodSelector != nil {
			pods = append(pods, *peer.PodSelector)
		}
		if peer.NamespaceSelector != nil {
			namespaces = append(namespaces, *peer.NamespaceSelector)
		}
	}
	for _, selector := range pods {
		for name, one := range asked.Pods {
			if err := sameSelection(selector, name, one.Labels); err != nil {
				return err
			}
		}
	}
	for _, selector := range namespaces {
		for name, its := range asked.Namespaces {
			if err := sameSelection(selector, name, its); err != nil {
				return err
			}
		}
	}
	return nil
}

func sameSelection(selector metav1.LabelSelector, name string, its map[string]string) error {
	standard, err := metav1.LabelSelectorAsSelector(&selector)
	if err != nil {
		return err
	}
	if standard.Matches(labels.Set(its)) != kube.IsLabelsMatchLabelSelector(its, selector) {
		return fmt.Errorf("Kubernetes and cyclonus differ on whether %s selects %s", standard, name)
	}
	return nil
}
