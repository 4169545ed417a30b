//! A complete transcript with fixed keys, for other implementations.

use sync_core::keys::FolderKeys;
use sync_core::secret::Secret;

use super::*;
use crate::membership::Member;
use crate::testing::hex;

#[test]
fn golden_transcript() {
    // Read-write secret: 21 bytes of 2a. Device secrets: 32 bytes of 0a on the
    // initiator and of 14 on the responder. Ephemeral private keys: 32 bytes of
    // 64 and of c8. All times are zero.
    let keys = FolderKeys::derive(&Secret::generate([42; 21]));
    assert_eq!(
        hex(keys.psk()),
        "b5236d0aefc3f2c7452dddbd37257a5a03fd20770f7d37e5b6e8ecdfe3e8fa8c"
    );
    assert_eq!(
        hex(&keys.static_key(&[10; 32])[..]),
        "fb8e4652736455820587bf6ccfe6922848adb64d64426b445cf1f2b02489b9e9"
    );
    assert_eq!(
        hex(&keys.static_key(&[20; 32])[..]),
        "d0723c0cd44eb2f07d3942470b59f94a8d9cdb2508c3d1b22fce9aa570f62026"
    );
    let member = |device| -> SharedFolder { Arc::new(Member::new(keys.clone(), &[device; 32])) };
    let mut pair = Pair::with(member(10), &[member(20)], &Config::default());
    let mut flights = Vec::new();
    pair.settle_with(|_, bytes| {
        if !bytes.is_empty() {
            flights.push(hex(bytes));
        }
    });
    let established = pair.a.established().unwrap();
    assert_eq!(
        hex(&established.handshake_hash),
        "f1843b2bbb9267f7c0a5314beb8662df80dc14f7818809f2f43e2827ea11947d"
    );
    assert_eq!(
        flights,
        [
            concat!(
                "6b3d57762f8badb69433f9c6d060f85f5e5c6b6803a816d141c075f63541ad102bfa894512af5d54",
                "7be42b9bd42b2537",
            ),
            concat!(
                "0d2ba27811c06aae55d7dc9207051388b061f4f9ddbaad4af607166b15ea3157c0cb75c63116bc0d",
                "7854faa188e6e30abfdf4fa347435983f315a5cbeba841e0f85630d54f06f86c23d198685a9290e8",
                "824fa80029e24e82f704bf7a7617d531",
            ),
            concat!(
                "3939a1f846be98dbd781615b8dbe2157a85831752b315afc11efa8af20a68b34acce86b019389094",
                "4a5bf98350062f56d8625bab8c83f3b733b3b08058aadee200004101a3821cea8eed7eb11bafeb88",
                "1a0eb6b2005b2e1bdedd2be109a537dc76f3ee55fbc815ed03865c083e56a1997f444ff63658eef1",
                "b38892923d7ee992ec825901c9cdf391795e359d4f1d87676440dda03b00008002318b759775ff7d",
                "592984a4528bc33f69963037111b23674f41b9bc94cd137fb37ecb069ca652432bfc465cd5174ff0",
                "1b5dfc59db24ab72ab1a518200aaae6cdb5cfb74797eb7307c48a25ee1eb4c74be67cee9371bb4af",
                "abd08ecffb75e92cb01bc36febd248dab7ee6492b621b7024f6c72a9432003f5915bc093e49deb02",
                "5ca76e4b86a2a76c087ee916e4c30d67e3",
            ),
            concat!(
                "000041014637739d653732f22d0c31d0d6b185b6502f686decdb523ee9ae072471c8720bf8b44d9a",
                "8fd8a62535c09a364e7be7b83d326c34f7942cf760ea0cb709e9847dc8fa4741b09bdda784b7fef2",
                "d3e1086b2500008002c63da34d1060a2bbc8042e4f184856d0117985ea811b703e9a0224cfb761b8",
                "1d4a9d20152a22181d21b3243a8e070fe2b0fcb21c3181e27fe484119df2068395924258d416b1ee",
                "5435ac1437e03f809f5c2b087202c57902107ca5929872f741fff229b382cf6e4b345a4ddf387697",
                "a1549e36f9b42c0b9cd69e3e87f9c62039b3d1e29cd3760bcd4ba8bcfb83aedbf6000008054f371e",
                "801dcb6530c9ab046916d8cbd864e2d1a772e5f26d",
            ),
            concat!(
                "000008067b6a16a67d9ccb5f339202c38f4f796980dd3bae1d9093e100000805d6a8a3ec37d4b231",
                "f06c5ed5eb5a9e80b7ddce209104c94c",
            ),
            "0000080643794d2deda0639fb3b64790e04852e35a10dc57142c724e",
        ]
    );
}
