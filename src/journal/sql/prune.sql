-- Drops old journal entries and returns how many; takes no lock for longer than a moment.
-- parameters: keep_ms
select pgcast.prune(make_interval(secs => :'keep_ms'::float8 / 1000));
