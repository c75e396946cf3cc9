-- Which server this is, and whether schema pgcast can be used.
select pg_catalog.pg_backend_pid(), pg_catalog.pg_is_in_recovery(),
       case when pg_catalog.to_regnamespace('pgcast') is null then 'missing'
            when not pg_catalog.has_schema_privilege('pgcast', 'usage') then 'rights'
            else 'there' end,
       current_user, pg_catalog.current_database();
