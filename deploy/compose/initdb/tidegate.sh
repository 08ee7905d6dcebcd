#!/bin/sh
# Runs once, when the Postgres image makes a new cluster, as its superuser `postgres` and over its Unix socket. Makes the role
# `tidegate` that the daemon logs in as, and its database. POSTGRES_PASSWORD becomes the password of that role. Afterwards the
# superuser has no password, so a login as it is not possible over the network; on this machine:
#
#     docker compose exec postgres psql --username=postgres tidegate
set -eu

psql --no-psqlrc --set=ON_ERROR_STOP=1 --username="$POSTGRES_USER" --dbname=postgres <<'SQL'
\getenv password POSTGRES_PASSWORD
create role tidegate login nosuperuser nocreatedb nocreaterole noreplication password :'password';
-- The migrations would make these roles too, for which the daemon would need the right to create roles. Without that right they
-- use the roles that are there, and the server's warning about it says nothing new.
create role tidegate_reader nologin;
create role tidegate_analyst nologin;
-- The login of the profile `monitoring`, if it has a password.
\set grafana ''
\getenv grafana GRAFANA_PASSWORD
select :'grafana' <> '' as has_grafana \gset
\if :has_grafana
create role tidegate_grafana login password :'grafana' in role tidegate_analyst;
\endif
create database tidegate owner tidegate;
alter role current_user password null;
SQL
