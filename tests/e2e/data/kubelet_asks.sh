# As root on node c2: its kubelet asks for a serving certificate anew, and somebody who holds the node asks for the API's address.
cd "$(mktemp -d)"
openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout /dev/null -out request \
    -subj /O=system:nodes/CN=system:node:c2 -addext subjectAltName=IP:10.207.0.10 2>/dev/null
kubectl --kubeconfig /etc/kubernetes/kubelet.conf create --filename - <<OBJECT
apiVersion: certificates.k8s.io/v1
kind: CertificateSigningRequest
metadata: {name: as-the-api}
spec:
  signerName: kubernetes.io/kubelet-serving
  usages: [digital signature, server auth]
  request: $(base64 -w0 request)
OBJECT
rm /var/lib/kubelet/pki/kubelet-server-current.pem
systemctl restart kubelet
