{{- /* What Kueue's objects of this installation begin with: they belong to the whole cluster. */ -}}
{{- define "arcetri.queuesName" -}}
{{- if eq .Release.Namespace .Release.Name -}}
{{ .Release.Name }}
{{- else -}}
{{ .Release.Namespace }}-{{ .Release.Name }}
{{- end -}}
{{- end -}}
