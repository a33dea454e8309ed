{{- /* The hub's settings file; docs/reference/settings.md has each key. */ -}}
{{- define "arcetri.settings" -}}
{{- $secret := "/etc/arcetri/secrets" -}}
{{- $iam := dict
  "issuer" (ternary (printf "http://127.0.0.1:%v/" .Values.iam.developmentPort) .Values.iam.issuer .Values.iam.development)
  "client_id" (ternary "arcetri-hub" .Values.iam.clientId .Values.iam.development)
  "client_secret_file" (printf "%s/iam-client" $secret)
  "development" .Values.iam.development
  "timeout" .Values.iam.timeout
-}}
{{- with .Values.iam.scopes }}{{ $_ := set $iam "scopes" . }}{{ end -}}
{{- with .Values.iam.groupsClaim }}{{ $_ := set $iam "groups_claim" . }}{{ end -}}
{{- with .Values.iam.uidClaim }}{{ $_ := set $iam "uid_claim" . }}{{ end -}}
{{- with .Values.iam.gidsClaim }}{{ $_ := set $iam "gids_claim" . }}{{ end -}}
{{- $settings := dict
  "state_dir" "/srv/arcetri"
  "instance_id" (printf "%s/%s" .Release.Namespace .Release.Name | sha256sum | trunc 16)
  "profiles" "/etc/arcetri/profiles/profiles.yaml"
  "site_config" "/etc/arcetri/site"
  "public_url" (include "arcetri.publicUrl" .)
  "hub_ip" "0.0.0.0"
  "hub_port" 8081
  "hub_connect_url" (include "arcetri.hubUrl" .)
  "iam" $iam
  "proxy" (dict
    "api_url" (printf "http://%s:8001" (include "arcetri.name" (list . "proxy-api")))
    "token_file" (printf "%s/proxy" $secret))
  "kubernetes" (dict
    "namespace" (include "arcetri.sessionsNamespace" .)
    "patience" .Values.hub.patience)
  "cookie_secret_file" (printf "%s/cookie" $secret)
  "crypt_key_file" (printf "%s/crypt" $secret)
  "supervisor_token_file" (printf "%s/supervisor" $secret)
  "metrics_token_file" (printf "%s/metrics" $secret)
  "start_timeout" .Values.hub.startTimeout
  "http_timeout" .Values.hub.httpTimeout
  "keep_requests" .Values.hub.keepRequests
  "log_level" .Values.hub.logLevel
-}}
{{- if not .Values.iam.development }}{{ $_ := set $settings "ip" "0.0.0.0" }}{{ end -}}
{{- if .Values.database.existingSecret }}{{ $_ := set $settings "database_url_file" "/etc/arcetri/database/hub" }}{{ end -}}
{{- if .Values.ledger.enabled }}
{{- $_ := set $settings "usage" (dict
    "url" (include "arcetri.ledgerUrl" .)
    "service_token_file" (printf "%s/usage-service" $secret)
    "witness_token_file" (printf "%s/witness" $secret)
    "node" "kubernetes"
    "spool" "/srv/arcetri/witness.sqlite")
}}
{{- end }}
{{- $settings | toPrettyJson -}}
{{- end -}}
