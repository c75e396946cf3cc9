-- The version of the schema, and whether this role may do everything that the daemon does.
select pgcast.schema_version(),
       has_table_privilege('pgcast.event', 'select')
       and has_function_privilege('pgcast.bridge_join()', 'execute')
       and has_function_privilege('pgcast.init(text, text)', 'execute')
       and has_function_privilege('pgcast.prune(interval)', 'execute')
       and coalesce(has_function_privilege(to_regprocedure('pgcast.write_canary()'), 'execute'), false),
       current_user, current_database();
