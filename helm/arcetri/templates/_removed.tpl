{{- /*
Keys that are refused with what to do instead: [path, what to do]. The schema lets them through as
deprecated, so that this sentence is what people read. Add a key here when it is taken away.
*/ -}}
{{- define "arcetri.removed" -}}
- [singleuser, "sessions are described by the catalog (profiles), and pods by hub.extraConfig with c.KubeSpawner settings"]
- [cull, "idle and lifetime are the catalog's `defaults`; culler.interval says how often one looks"]
- [prePuller, "it is called prepuller here, and pulls the images that the catalog names"]
- [scheduling, "nodes and tolerations are the catalog's, by flavour"]
- [auth, "people log in through iam"]
- [hub.config, "write it as Python in hub.extraConfig, such as {site: \"c.JupyterHub.trait = 1\"}; login is in iam"]
- [hub.db, "SQLite lies on hub.volume; PostgreSQL is named in database.existingSecret"]
- [hub.cookieSecret, "it is made once and kept; to bring your own, name a Secret in hub.existingSecret"]
- [hub.serviceAccount.namespace, "with the hub switched off, install this chart in the namespace of zero-to-jupyterhub"]
- [proxy.secretToken, "it is made once and kept; to bring your own, name a Secret in hub.existingSecret"]
- [proxy.https, "TLS ends at the ingress: ingress.tls"]
{{- end -}}
