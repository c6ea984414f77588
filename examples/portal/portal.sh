#!/bin/sh
# Prints a link that lets an owner into their page of API keys, once and within a minute: portal.sh OWNER [NAME]
#
# KEYGATE_ADMIN is where the admin API is; KEYGATE_TOKEN_FILE holds an operator's token.
set -eu

owner=${1:?portal.sh OWNER [NAME]}
name=${2:-$owner}
admin=${KEYGATE_ADMIN:-http://127.0.0.1:9180}
token_file=${KEYGATE_TOKEN_FILE:-data/admin.token}

# The token goes through a pipe, so that it does not stand in the list of processes.
printf 'header = "Authorization: Bearer %s"\n' "$(cat "$token_file")" |
    curl --silent --show-error --fail-with-body --config - \
        --header 'Content-Type: application/json' \
        --data "{\"owner\": \"$owner\", \"display_name\": \"$name\"}" \
        "$admin/v1/portal-sessions" |
    sed -n 's/.*"url":"\([^"]*\)".*/\1/p'
echo
