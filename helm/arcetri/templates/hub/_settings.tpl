{{- /* The hub's settings file; docs/reference/settings.md has each key. */ -}}
{{- define "arcetri.settings" -}}
{{- $state := "/srv/arcetri" -}}
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
{{- $kubernetes := dict
  "namespace" (include "arcetri.sessionsNamespace" .)
  "patience" .Values.hub.patience
  "strict_groups" .Values.sessions.strictGroups
-}}
{{- if include "arcetri.provisioned" . }}
{{- $_ := set $kubernetes "provisioner" (dict
    "url" (printf "http://%s.%s.svc:8020" (include "arcetri.name" (list . "provisioner")) (include "arcetri.storageNamespace" .))
    "token_file" "/var/run/arcetri/provisioner/token")
}}
{{- end }}
{{- if .Values.queues.enabled }}
{{- $_ := set $kubernetes "queue" "kueue" }}
{{- $_ := set $kubernetes "queues_name" (include "arcetri.queuesName" .) }}
{{- end }}
{{- $settings := dict
  "state_dir" $state
  "instance_id" (include "arcetri.instance" .)
  "profiles" "/etc/arcetri/profiles/profiles.yaml"
  "site_config" "/etc/arcetri/site"
  "public_url" (include "arcetri.publicUrl" .)
  "hub_ip" "0.0.0.0"
  "hub_port" 8081
  "hub_connect_url" (include "arcetri.hubUrl" .)
  "iam" $iam
  "kubernetes" $kubernetes
  "metrics_token_file" (printf "%s/metrics" $secret)
  "start_timeout" .Values.hub.startTimeout
  "http_timeout" .Values.hub.httpTimeout
  "keep_requests" .Values.hub.keepRequests
  "culling_interval" .Values.culler.interval
  "log_level" .Values.hub.logLevel
-}}
{{- if .Values.hub.enabled }}
{{- $_ := set $settings "proxy" (dict
    "api_url" (printf "http://%s:8001" (include "arcetri.name" (list . "proxy-api")))
    "token_file" (printf "%s/proxy" $secret))
}}
{{- $_ := set $settings "cookie_secret_file" (printf "%s/cookie" $secret) }}
{{- $_ := set $settings "crypt_key_file" (printf "%s/crypt" $secret) }}
{{- $_ := set $settings "supervisor_token_file" (printf "%s/supervisor" $secret) }}
{{- else if not .Values.database.existingSecret }}
{{- /* Where zero-to-jupyterhub keeps the database that is the hub's and the platform's. */}}
{{- $_ := set $settings "database_url" "sqlite:////srv/jupyterhub/jupyterhub.sqlite" }}
{{- end }}
{{- if not .Values.iam.development }}{{ $_ := set $settings "ip" "0.0.0.0" }}{{ end -}}
{{- if .Values.database.existingSecret }}{{ $_ := set $settings "database_url_file" "/etc/arcetri/database/hub" }}{{ end -}}
{{- if .Values.ledger.enabled }}
{{- $_ := set $settings "usage" (dict
    "url" (include "arcetri.ledgerUrl" .)
    "service_token_file" (printf "%s/usage-service" $secret)
    "witness_token_file" "/var/run/arcetri/ledger/token"
    "node" "kubernetes"
    "spool" (printf "%s/witness.sqlite" $state))
}}
{{- end }}
{{- $settings | toPrettyJson -}}
{{- end -}}
