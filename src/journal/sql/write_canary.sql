-- An event for nobody: its id.
select pgcast.write_canary();
