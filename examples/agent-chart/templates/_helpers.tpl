{{- define "fleet-agent.fullname" -}}
{{- if contains "fleet-agent" .Release.Name }}{{ .Release.Name | trunc 53 | trimSuffix "-" }}{{ else }}{{ printf "%s-fleet-agent" .Release.Name | trunc 53 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "fleet-agent.selector" -}}
app.kubernetes.io/name: fleet-agent
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "fleet-agent.labels" -}}
{{ include "fleet-agent.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "fleet-agent.account" -}}
{{- if .Values.serviceAccount.create }}{{ default (include "fleet-agent.fullname" .) .Values.serviceAccount.name }}{{ else }}{{ required "serviceAccount.name: which account, when the chart makes none" .Values.serviceAccount.name }}{{ end }}
{{- end }}

{{- define "fleet-agent.identity" -}}
{{ default (printf "%s-identity" (include "fleet-agent.fullname" .)) .Values.identity.secretName }}
{{- end }}

{{- define "fleet-agent.tokenSecret" -}}
{{- if .Values.token.value }}{{ include "fleet-agent.fullname" . }}-token{{ else }}{{ .Values.token.existingSecret }}{{ end }}
{{- end }}

{{- define "fleet-agent.accountsNamespace" -}}
{{ default .Release.Namespace .Values.rbac.accountsNamespace }}
{{- end }}

{{- define "fleet-agent.subject" -}}
- kind: ServiceAccount
  name: {{ include "fleet-agent.account" . }}
  namespace: {{ .Release.Namespace }}
{{- end }}
