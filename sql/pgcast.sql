-- pgcast: journals every change of the watched tables and notifies sleeping bridges.
--
-- Installs, or upgrades an older version, in one transaction:
--
--     psql -v ON_ERROR_STOP=1 -f pgcast.sql
--
-- Needs PostgreSQL 13 or later and a role that may create objects in the database and roles
-- (CREATEROLE); once the role pgcast_owner exists, membership in it is enough. Running it again
-- changes nothing. uninstall.sql removes everything.
--
-- Each watched table is a row of pgcast.source. From that row pgcast.generate writes trigger
-- functions with static SQL. They insert one row per change and uid into the journal, pgcast.event,
-- in the writer's own transaction, and send NOTIFY when a bridge sleeps. All objects belong to
-- pgcast_owner, which can't log in and is no superuser. Writers reach them through SECURITY DEFINER
-- functions with a pinned search_path.
--
-- In a checkout the parts are files of their own; the installed file holds them all.

begin;

set local client_min_messages = warning;
set local search_path = pg_catalog, pg_temp;

\ir pgcast/00_owner.sql
\ir pgcast/01_version.sql
\ir upgrade/2--3.sql
\ir upgrade/3--4.sql
\ir pgcast/10_constants.sql
\ir pgcast/20_tables.sql
\ir pgcast/30_relations.sql
\ir pgcast/40_template_statement.sql
\ir pgcast/41_template_update.sql
\ir pgcast/42_template_row.sql
\ir pgcast/43_template_row_update.sql
\ir pgcast/44_template_truncate.sql
\ir pgcast/45_template_describe.sql
\ir pgcast/50_generate.sql
\ir pgcast/60_watch.sql
\ir pgcast/61_state.sql
\ir pgcast/70_publish.sql
\ir pgcast/80_bridge.sql
\ir pgcast/81_prune.sql
\ir pgcast/82_init.sql
\ir pgcast/90_finish.sql

commit;
