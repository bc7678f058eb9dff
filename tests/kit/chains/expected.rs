//! What hotcert makes of cases of PKITS otherwise than the suite has it, and why. The page `docs/chains.md` says it to
//! users.

/// Cases that are judged otherwise for one reason.
pub struct Difference {
    /// As the page has it.
    pub why: &'static str,
    /// Else they are accepted, and the suite refuses them.
    pub refused: bool,
    pub cases: &'static [&'static str],
}

pub const DIFFERENCES: &[Difference] = &[
    Difference {
        why: "A certificate of an authority is no leaf",
        refused: true,
        cases: &[
            "OverlappingPoliciesTest6",
            "ValidonlyContainsCACertsTest13",
            "ValidpathLenConstraintTest8",
            "ValidpathLenConstraintTest14",
        ],
    },
    Difference {
        why: "Certificates that an authority issues to itself are like those of other authorities",
        refused: true,
        cases: &[
            "ValidBasicSelfIssuedNewWithOldTest3",
            "ValidBasicSelfIssuedOldWithNewTest1",
            "ValidDNnameConstraintsTest19",
            "ValidSelfIssuedpathLenConstraintTest15",
            "ValidSelfIssuedpathLenConstraintTest17",
        ],
    },
    Difference {
        why: "Constraints on URIs, e-mail addresses and directory names are not supported",
        refused: true,
        cases: &[
            "ValidDNandRFC822nameConstraintsTest27",
            "ValidDNnameConstraintsTest1",
            "ValidDNnameConstraintsTest4",
            "ValidDNnameConstraintsTest5",
            "ValidDNnameConstraintsTest6",
            "ValidDNnameConstraintsTest11",
            "ValidDNnameConstraintsTest14",
            "ValidDNnameConstraintsTest18",
            "ValidRFC822nameConstraintsTest21",
            "ValidRFC822nameConstraintsTest23",
            "ValidRFC822nameConstraintsTest25",
            "ValidURInameConstraintsTest34",
            "ValidURInameConstraintsTest36",
        ],
    },
    Difference {
        why: "Names of issuers are compared byte by byte",
        refused: true,
        cases: &[
            "ValidNameChainingCapitalizationTest5",
            "ValidNameChainingWhitespaceTest3",
            "ValidNameChainingWhitespaceTest4",
            "ValidRolloverfromPrintableStringtoUTF8StringTest10",
            "ValidUTF8StringCaseInsensitiveMatchTest11",
        ],
    },
    Difference {
        why: "Critical policies below the root, and constraints on policies, are not supported",
        refused: true,
        cases: &[
            "AllCertificatesSamePoliciesTest10",
            "AllCertificatesSamePoliciesTest13",
            "AllCertificatesanyPolicyTest11",
            "AnyPolicyTest14",
            "UserNoticeQualifierTest18",
            "ValidPolicyMappingTest1",
            "ValidPolicyMappingTest3",
            "ValidPolicyMappingTest5",
            "ValidPolicyMappingTest6",
            "ValidPolicyMappingTest9",
            "ValidPolicyMappingTest11",
            "ValidPolicyMappingTest12",
            "ValidPolicyMappingTest13",
            "ValidPolicyMappingTest14",
            "ValidSelfIssuedinhibitAnyPolicyTest7",
            "ValidSelfIssuedinhibitAnyPolicyTest9",
            "ValidSelfIssuedinhibitPolicyMappingTest7",
            "ValidSelfIssuedrequireExplicitPolicyTest6",
            "ValidinhibitAnyPolicyTest2",
            "ValidinhibitPolicyMappingTest2",
            "ValidinhibitPolicyMappingTest4",
            "ValidrequireExplicitPolicyTest1",
            "ValidrequireExplicitPolicyTest2",
            "ValidrequireExplicitPolicyTest4",
            "inhibitAnyPolicyTest3",
        ],
    },
    Difference {
        why: "A revocation list is signed by the key of the authority that it is about",
        refused: true,
        cases: &[
            "ValidBasicSelfIssuedCRLSigningKeyTest6",
            "ValidBasicSelfIssuedNewWithOldTest4",
            "ValidIDPwithindirectCRLTest22",
            "ValidIDPwithindirectCRLTest24",
            "ValidIDPwithindirectCRLTest25",
            "ValidSeparateCertificateandCRLKeysTest19",
            "ValidcRLIssuerTest28",
            "ValidcRLIssuerTest29",
            "ValidcRLIssuerTest30",
            "ValidcRLIssuerTest33",
        ],
    },
    Difference {
        why: "A revocation list is whole: no delta, no part for some reasons or of a distribution point without a URI",
        refused: true,
        cases: &[
            "ValiddeltaCRLTest2",
            "ValiddeltaCRLTest5",
            "ValiddeltaCRLTest7",
            "ValiddeltaCRLTest8",
            "ValiddistributionPointTest1",
            "ValiddistributionPointTest4",
            "ValiddistributionPointTest5",
            "ValiddistributionPointTest7",
            "ValidonlySomeReasonsTest18",
            "ValidonlySomeReasonsTest19",
        ],
    },
    Difference {
        why: "DSA, unique identifiers of X.509 v2 and dates before 1970 are not supported",
        refused: true,
        cases: &[
            "ValidDSAParameterInheritanceTest5",
            "ValidDSASignaturesTest4",
            "ValidNameUIDsTest6",
            "Validpre2000UTCnotBeforeDateTest3",
        ],
    },
];
