#!/bin/sh
# Starts the containers with a leased user, and revokes it when they have ended.
#
#     PGPASSWORD=... ./up.sh
#
# It uses the AWS credentials that boto3 finds, the `dynsecrets` command, and Docker with Compose.
set -eu
cd "$(dirname "$0")"

dynsecrets secrets download --format env .env      # made with mode 0600; never overwrites
lease=$(. ./.env && echo "$AWS_USER_LEASE_ID")
trap 'rm -f .env; dynsecrets revoke "$lease"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

docker compose up --abort-on-container-exit
