{{- /*
Who connects to whom. docs/reference/connections.csv is the same as a table; a test evaluates these
policies over it, and over everything it does not name.
*/ -}}

{{- /* A component's pods: (list . "hub"). With the hub switched off, zero-to-jupyterhub's. */ -}}
{{- define "arcetri.peer" -}}
{{- $root := index . 0 -}}
{{- $component := index . 1 -}}
{{- if and (has $component (list "hub" "proxy")) (not $root.Values.hub.enabled) -}}
{{- $z2jh := $root.Values.networkPolicy.z2jh -}}
namespaceSelector:
  matchLabels:
    kubernetes.io/metadata.name: {{ $root.Release.Namespace }}
podSelector:
  matchLabels: {{- toYaml (index $z2jh $component) | nindent 4 }}
{{- else -}}
namespaceSelector:
  matchLabels:
    kubernetes.io/metadata.name: {{ include "arcetri.networkPolicyNamespace" . }}
podSelector:
  matchLabels: {{- include "arcetri.selector" . | nindent 4 }}
{{- end -}}
{{- end -}}

{{- /* Every pod of the sessions' namespace, which is theirs alone. */ -}}
{{- define "arcetri.sessionsPeer" -}}
namespaceSelector:
  matchLabels:
    kubernetes.io/metadata.name: {{ include "arcetri.sessionsNamespace" . }}
{{- end -}}

{{- define "arcetri.networkPolicyNamespace" -}}
{{- $root := index . 0 -}}
{{- $component := index . 1 -}}
{{- if eq $component "agent" -}}
{{- include "arcetri.agentsNamespace" $root -}}
{{- else if eq $component "provisioner" -}}
{{- include "arcetri.storageNamespace" $root -}}
{{- else -}}
{{- $root.Release.Namespace -}}
{{- end -}}
{{- end -}}

{{- /* What a component's policy begins with: (list . "hub"). */ -}}
{{- define "arcetri.networkPolicy" -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {{ include "arcetri.name" . }}
  namespace: {{ include "arcetri.networkPolicyNamespace" . }}
  labels: {{- include "arcetri.labels" . | nindent 4 }}
spec:
  podSelector:
    matchLabels: {{- include "arcetri.selector" . | nindent 6 }}
  policyTypes: [Ingress, Egress]
{{- end -}}

{{- /* Rules, as items of a list. */ -}}

{{- define "arcetri.toNames" -}}
{{- $dns := .Values.networkPolicy.dns -}}
- to: {{- toYaml $dns.to | nindent 2 }}
  ports:
  {{- range $dns.ports }}
  - {protocol: UDP, port: {{ . }}}
  - {protocol: TCP, port: {{ . }}}
  {{- end }}
{{- end -}}

{{- /*
No `to` unless the site says where it is: the API server's address is known to nobody here, changes
with the control plane, and is a node's own in many clusters, which some network plugins match with
no ipBlock.
*/ -}}
{{- define "arcetri.toApiServer" -}}
{{- include "arcetri.toSomewhere" .Values.networkPolicy.apiServer -}}
{{- end -}}

{{- /* Where the site says, else anywhere, on these ports: a section of networkPolicy. */ -}}
{{- define "arcetri.toSomewhere" -}}
- ports: {{- toYaml .ports | nindent 2 }}
  {{- with .to }}
  to: {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{- /* From whoever collects metrics: (list . 8081). */ -}}
{{- define "arcetri.fromMonitoring" -}}
{{- with (index . 0).Values.networkPolicy.monitoring.from }}
- from: {{- toYaml . | nindent 2 }}
  ports: [{port: {{ index $ 1 }}}]
{{- end }}
{{- end -}}

{{- /*
The internet without what is near: ranges that IANA keeps for private and special use, so nodes, pods
and services with private addresses, and every cloud's metadata address (Azure's second one is
public); of IPv6 what is global, without the tunnels that carry IPv4.
*/ -}}
{{- define "arcetri.toInternet" -}}
{{- $four := list "0.0.0.0/8" "10.0.0.0/8" "100.64.0.0/10" "127.0.0.0/8" "168.63.129.16/32" "169.254.0.0/16" "172.16.0.0/12" "192.0.0.0/24" "192.0.2.0/24" "192.88.99.0/24" "192.168.0.0/16" "198.18.0.0/15" "198.51.100.0/24" "203.0.113.0/24" "224.0.0.0/4" "240.0.0.0/4" -}}
{{- $six := list "2001::/23" "2001:db8::/32" "2002::/16" "3fff::/20" -}}
{{- range .protectedCidrs -}}
{{- if not (contains ":" .) -}}
{{- $four = append $four . -}}
{{- else if regexMatch "^[23][0-9A-Fa-f]{3}:" . -}}
{{- $six = append $six . -}}
{{- end -}}
{{- end -}}
- to:
  - ipBlock:
      cidr: 0.0.0.0/0
      except: {{- toYaml (uniq $four) | nindent 6 }}
  - ipBlock:
      cidr: 2000::/3
      except: {{- toYaml (uniq $six) | nindent 6 }}
  {{- with .ports }}
  ports: {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{- /* Sessions that run on after the release are held to it as before. */ -}}
{{- define "arcetri.keptWithSessions" -}}
annotations: {helm.sh/resource-policy: keep}
{{- end -}}
