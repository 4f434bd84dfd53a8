# Runs kubelet without an API server, with one pod of a file; the authority of the images' registry is at /root/ca.pem.
set -eu
mkdir -p /etc/containerd/certs.d/registry.lab.example:5000 /etc/kubernetes/manifests
cat >/etc/containerd/certs.d/registry.lab.example:5000/hosts.toml <<'END'
server = "https://registry.lab.example:5000"
[host."https://registry.lab.example:5000"]
  ca = "/root/ca.pem"
END
cat >/etc/containerd/config.toml <<'END'
version = 2
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "registry.lab.example:5000/k8s/pause:3.10.2"
  restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".registry]
  config_path = "/etc/containerd/certs.d"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
END
systemctl restart containerd
cat >/var/lib/kubelet/config.yaml <<'END'
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
staticPodPath: /etc/kubernetes/manifests
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
cgroupDriver: cgroupfs
failCgroupV1: false
protectKernelDefaults: true
authentication: {anonymous: {enabled: false}, webhook: {enabled: false}}
authorization: {mode: AlwaysAllow}
evictionHard: {memory.available: 100Mi, nodefs.available: 1%, imagefs.available: 1%, nodefs.inodesFree: 1%}
END
cat >/etc/kubernetes/manifests/probe.yaml <<'END'
apiVersion: v1
kind: Pod
metadata: {name: probe}
spec:
  hostNetwork: true
  containers:
    - name: probe
      image: registry.lab.example:5000/k8s/probe:1.0.0
      args: [serve, --port, "18080", --name, alone]
      resources: {limits: {memory: 32Mi}}
END
systemd-run --quiet --unit=kubelet-alone kubelet --config /var/lib/kubelet/config.yaml
