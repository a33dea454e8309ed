{{- /* Templates that take a component take (list . "hub"): the chart's root, and its name. */ -}}

{{- /* An object's name: RELEASE-hub, and RELEASE alone for what is no component's. */ -}}
{{- define "arcetri.name" -}}
{{- $root := index . 0 -}}
{{- printf "%s-%s" ($root.Release.Name | trunc 40 | trimSuffix "-") (index . 1) -}}
{{- end -}}

{{- /* The labels by which selectors know a component. */ -}}
{{- define "arcetri.selector" -}}
app.kubernetes.io/name: arcetri
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{- /* The labels of everything; (list . "") for what is no component's. */ -}}
{{- define "arcetri.labels" -}}
{{- $root := index . 0 -}}
{{- if index . 1 -}}
{{ include "arcetri.selector" . }}
{{- else -}}
app.kubernetes.io/name: arcetri
app.kubernetes.io/instance: {{ $root.Release.Name }}
{{- end }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{- /* Name, namespace and labels of an object: (list . "hub"), or (list . "hub-site" "hub") where the
       name is not the component's. */ -}}
{{- define "arcetri.metadata" -}}
{{- $root := index . 0 -}}
{{- $component := index . 1 -}}
{{- if gt (len .) 2 }}{{ $component = index . 2 }}{{ end -}}
name: {{ include "arcetri.name" . }}
namespace: {{ $root.Release.Namespace }}
labels: {{- include "arcetri.labels" (list $root $component) | nindent 2 }}
{{- end -}}

{{- /* The namespaces beside the release's own: (list . "sessions" .Values.sessions). */ -}}
{{- define "arcetri.namespaceOf" -}}
{{- $root := index . 0 -}}
{{- (index . 2).namespace | default (printf "%s-%s" ($root.Release.Name | trunc 40 | trimSuffix "-") (index . 1)) -}}
{{- end -}}

{{- define "arcetri.agentsNamespace" -}}
{{- include "arcetri.namespaceOf" (list . "agents" .Values.agents) -}}
{{- end -}}

{{- define "arcetri.storageNamespace" -}}
{{- include "arcetri.namespaceOf" (list . "storage" .Values.provisioner) -}}
{{- end -}}

{{- define "arcetri.imagesNamespace" -}}
{{- include "arcetri.namespaceOf" (list . "images" .Values.prepuller) -}}
{{- end -}}

{{- /* The service account of the hub, as NAMESPACE:NAME. */ -}}
{{- define "arcetri.hubAccount" -}}
{{- .Release.Namespace }}:{{ include "arcetri.hubAccountName" . -}}
{{- end -}}

{{- /* A name for what belongs to the whole cluster: two releases must not share it. */ -}}
{{- define "arcetri.wideName" -}}
{{- $root := index . 0 -}}
{{- $name := include "arcetri.name" . -}}
{{- if ne $root.Release.Namespace $root.Release.Name }}{{ $name = printf "%s-%s" $root.Release.Namespace $name }}{{ end -}}
{{- $name -}}
{{- end -}}

{{- /* Tells this platform's pods from another's. */ -}}
{{- define "arcetri.instance" -}}
{{- printf "%s/%s" .Release.Namespace .Release.Name | sha256sum | trunc 16 -}}
{{- end -}}

{{- /* The claims on which the provisioner makes folders: those that lie on a file system of the site. */ -}}
{{- define "arcetri.provisioned" -}}
{{- $names := list -}}
{{- if .Values.provisioner.enabled -}}
{{- range $name, $claim := .Values.storage.claims -}}
{{- if $claim.source }}{{ $names = append $names $name }}{{ end -}}
{{- end -}}
{{- end -}}
{{- sortAlpha $names | join " " -}}
{{- end -}}

{{- define "arcetri.sessionsNamespace" -}}
{{- include "arcetri.namespaceOf" (list . "sessions" .Values.sessions) -}}
{{- end -}}

{{- /* A component's image. */ -}}
{{- define "arcetri.image" -}}
{{- $root := index . 0 -}}
{{- $images := $root.Values.images -}}
{{- $own := index $images (index . 1) | default dict -}}
{{- $registry := required "images.registry: say where the platform's images are, such as registry.example.org/arcetri; `make images` builds them" $images.registry -}}
{{- $name := printf "%s/%s" $registry ($own.name | default (index . 1)) -}}
{{- if $own.digest -}}
{{- printf "%s@%s" $name $own.digest -}}
{{- else -}}
{{- printf "%s:%s" $name ($own.tag | default $images.tag | default $root.Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{- /* What a pod's spec says of where it runs and how it is pulled: (list . .Values.hub). */ -}}
{{- define "arcetri.placement" -}}
{{- $root := index . 0 -}}
{{- $own := index . 1 -}}
enableServiceLinks: false
{{- with $root.Values.images.pullSecrets }}
imagePullSecrets: {{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
{{- with $own.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $own.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $own.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $own.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- /* Pods of the platform are as restricted as those of sessions. */ -}}
{{- define "arcetri.podSecurity" -}}
runAsNonRoot: true
runAsUser: 1000
runAsGroup: 1000
fsGroup: 1000
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "arcetri.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{- /* Variables that a site adds: (list .Values.hub.extraEnv). A value is text, or as in a pod. */ -}}
{{- define "arcetri.extraEnv" -}}
{{- range $name, $value := index . 0 }}
- name: {{ $name }}
{{- if kindIs "map" $value }}
  {{- toYaml $value | nindent 2 }}
{{- else }}
  value: {{ $value | quote }}
{{- end }}
{{- end }}
{{- end -}}

{{- /* The volume that keeps a component's data: (list . "hub" .Values.hub.volume). */ -}}
{{- define "arcetri.stateVolume" -}}
name: state
{{- $volume := index . 2 }}
persistentVolumeClaim:
  claimName: {{ $volume.existingClaim | default (include "arcetri.name" (list (index . 0) (index . 1))) }}
{{- end -}}

{{- define "arcetri.stateClaim" -}}
{{- $volume := index . 2 -}}
{{- if not $volume.existingClaim -}}
apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  {{- include "arcetri.metadata" (list (index . 0) (index . 1)) | nindent 2 }}
  annotations:
    # People, logins and what was used outlive the release that is uninstalled.
    helm.sh/resource-policy: keep
spec:
  accessModes: [ReadWriteOnce]
  {{- with $volume.storageClassName }}
  storageClassName: {{ ternary "" . (eq . "-") | quote }}
  {{- end }}
  resources: {requests: {storage: {{ $volume.size }}}}
{{- end -}}
{{- end -}}

{{- /* The Secret with what components prove themselves by. */ -}}
{{- define "arcetri.secretName" -}}
{{- .Values.hub.existingSecret | default (include "arcetri.name" (list . "secrets")) -}}
{{- end -}}

{{- define "arcetri.profilesName" -}}
{{- $given := "" -}}
{{- if kindIs "map" .Values.profiles -}}{{- $given = .Values.profiles.existingConfigMap | default "" -}}{{- end -}}
{{- $given | default (include "arcetri.name" (list . "profiles")) -}}
{{- end -}}

{{- /* Where browsers find the platform, without a slash at the end. */ -}}
{{- define "arcetri.publicUrl" -}}
{{- if .Values.hub.publicUrl -}}
{{- .Values.hub.publicUrl | trimSuffix "/" -}}
{{- else if .Values.ingress.enabled -}}
{{- printf "%s://%s" (ternary "https" "http" .Values.ingress.tls.enabled) (required "ingress.host: say by which name browsers find the platform" .Values.ingress.host) -}}
{{- else -}}
http://127.0.0.1:8000
{{- end -}}
{{- end -}}

{{- define "arcetri.hubUrl" -}}
{{- if and .Values.hub.url (not .Values.hub.enabled) -}}
{{ .Values.hub.url | trimSuffix "/" }}
{{- else -}}
http://{{ ternary (include "arcetri.name" (list . "hub")) "hub" .Values.hub.enabled }}.{{ .Release.Namespace }}.svc:8081
{{- end -}}
{{- end -}}

{{- /* Without a hub of this chart's, it is the one of zero-to-jupyterhub. */ -}}
{{- define "arcetri.hubAccountName" -}}
{{- .Values.hub.serviceAccount.name | default (ternary (include "arcetri.name" (list . "hub")) "hub" .Values.hub.enabled) -}}
{{- end -}}

{{- define "arcetri.ledgerUrl" -}}
http://{{ include "arcetri.name" (list . "ledger") }}.{{ .Release.Namespace }}.svc:8010
{{- end -}}
