{{- /* What the hub's container and the one that takes its tables back have in common. */ -}}
{{- define "arcetri.hubContainer" -}}
image: {{ include "arcetri.image" (list . "hub") }}
imagePullPolicy: {{ .Values.images.pullPolicy }}
workingDir: /srv/arcetri
env:
- {name: ARCETRI_SETTINGS, value: /etc/arcetri/settings/settings.json}
# The proxy's stamps of last activity are read as UTC.
- {name: TZ, value: UTC}
{{- include "arcetri.extraEnv" (list .Values.hub.extraEnv) | nindent 0 }}
resources: {{- toYaml .Values.hub.resources | nindent 2 }}
terminationMessagePolicy: FallbackToLogsOnError
securityContext: {{- include "arcetri.containerSecurity" . | nindent 2 }}
volumeMounts:
- {name: state, mountPath: /srv/arcetri}
- {name: settings, mountPath: /etc/arcetri/settings, readOnly: true}
- {name: site, mountPath: /etc/arcetri/site, readOnly: true}
# The whole folder, since a file mounted alone would never change.
- {name: profiles, mountPath: /etc/arcetri/profiles, readOnly: true}
- {name: secrets, mountPath: /etc/arcetri/secrets, readOnly: true}
- {name: tokens, mountPath: /var/run/arcetri, readOnly: true}
{{- if .Values.database.existingSecret }}
- {name: database, mountPath: /etc/arcetri/database, readOnly: true}
{{- end }}
- {name: tmp, mountPath: /tmp}
{{- with .Values.hub.extraVolumeMounts }}
{{- toYaml . | nindent 0 }}
{{- end }}
{{- end -}}
