-- Registers this session as a bridge, and returns the key of its sleeping lock.
select pgcast.bridge_join();
